from __future__ import annotations

import asyncio
import os
import signal

import pytest

from benchmarks.command import describe_run, end_in_order, shorten


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        pytest.param("/srv/checkouts/worker-vllm", "worker-vllm", id="path-of-this-machine"),
        pytest.param("docs/performance.md", "docs/performance.md", id="path-in-the-project"),
        pytest.param("0,20,50", "0,20,50", id="no-path"),
    ],
)
def test_shorten_hides_where_things_lie_on_this_machine(argument, shown):
    assert shorten(argument) == shown


def test_describe_run_names_machine_versions_date_and_command():
    facts = describe_run()

    assert list(facts) == ["machine", "versions", "date", "command"]
    assert "cores" in facts["machine"]
    assert "Python 3." in facts["versions"]


async def test_end_in_order_lets_the_work_clean_up_at_sigterm():
    cleaned: list[bool] = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(10)
        finally:
            cleaned.append(True)

    with pytest.raises(asyncio.CancelledError):
        await end_in_order(work())
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    assert cleaned == [True]
