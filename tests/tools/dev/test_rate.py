import pytest

from worker_tools.dev import Limits
from worker_tools.dev.rate import RATES, WINDOW_S, RateLimiter


def test_enter_refuses_what_exceeds_the_window_and_recovers():
    clock = [0.0]
    limiter = RateLimiter(now=lambda: clock[0])
    for _ in range(RATES["purge-queue"].requests):
        assert limiter.enter("purge-queue")
        limiter.leave("purge-queue")
    assert not limiter.enter("purge-queue")
    clock[0] = WINDOW_S
    assert limiter.enter("purge-queue")


def test_enter_refuses_too_many_at_once():
    limiter = RateLimiter()
    most = RATES["cancel"].concurrent
    assert most is not None
    assert all(limiter.enter("cancel") for _ in range(most))
    assert not limiter.enter("cancel")
    limiter.leave("cancel")
    assert limiter.enter("cancel")


def test_enter_unlimited_operation_is_always_let_in():
    limiter = RateLimiter()
    assert all(limiter.enter("job-stream") for _ in range(10_000))


@pytest.mark.parametrize(("enforced", "last"), [(True, 429), (False, 200)])
async def test_rates_are_enforced_only_if_asked_for(start, enforced, last):
    api = await start(limits=Limits(rate_limits=enforced))
    statuses = [(await api.call("POST", "/purge-queue"))[0] for _ in range(3)]
    assert statuses == [200, 200, last]
