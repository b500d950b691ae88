import pytest

from worker_tools.dev.faults import Fault, Faults, WorkerCall

STREAM = WorkerCall("stream", "w1", "j1", b"body")


@pytest.mark.parametrize(
    ("fault", "call", "matches"),
    [
        pytest.param(Fault("stream"), STREAM, True, id="operation"),
        pytest.param(Fault("done"), STREAM, False, id="other-operation"),
        pytest.param(Fault("stream", when=lambda c: c.job_id == "j1"), STREAM, True, id="when"),
        pytest.param(Fault("stream", when=lambda c: c.body == b""), STREAM, False, id="when-not"),
    ],
)
def test_faults_match_operation_and_condition(fault, call, matches):
    assert Faults(fault).match(call) is (fault if matches else None)


def test_faults_count_uses_and_then_end():
    faults = Faults(Fault("stream", calls=2, status=500))
    assert [faults.match(STREAM) is not None for _ in range(3)] == [True, True, False]


def test_faults_without_count_stay_until_cleared():
    faults = Faults(Fault("stream", calls=None, status=500))
    assert all(faults.match(STREAM) for _ in range(10))
    faults.clear()
    assert faults.match(STREAM) is None


def test_faults_apply_in_the_order_they_were_added():
    first, second = Fault("stream", status=500), Fault("stream", drop=True)
    faults = Faults(first)
    faults.add(second)
    assert [faults.match(STREAM), faults.match(STREAM)] == [first, second]


@pytest.mark.parametrize(
    ("fault", "answers"),
    [
        pytest.param(Fault("take", delay_s=1), False, id="delay-only"),
        pytest.param(Fault("take", status=500), True, id="status"),
        pytest.param(Fault("take", body=b""), True, id="empty-body"),
        pytest.param(Fault("take", drop=True), True, id="drop"),
    ],
)
def test_fault_answers_in_place_of_the_platform(fault, answers):
    assert fault.answers is answers
