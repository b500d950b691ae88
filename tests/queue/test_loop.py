"""The job loop by itself: a fake platform and a fake job runner, no waits."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
from runpod.serverless.modules.worker_state import JobsProgress

from tests.fakes.runpod_platform import JobQueue, JobRunner
from tests.support.reference_cycles import reference_cycles
from worker.queue import loop as loop_module
from worker.queue import sdk
from worker.queue.loop import EventDrivenScaler
from worker.request.codes import Code, request_error
from worker_tools.dev.worker_api import MAX_BATCH

PLACES = 3


class Harness:
    """A running scaler, the jobs of its handler, and their results."""

    def __init__(self) -> None:
        self.platform = JobQueue()
        self.results: dict = {}
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.scaler = EventDrivenScaler(self.handle, PLACES)
        self.scaler.jobs_fetcher = self.platform.fetch  # type: ignore[assignment]
        self.scaler.monitor_stop_signals = self.monitor
        self.monitored: list = []
        self.running: asyncio.Task | None = None

    async def handle(self, job):
        self.started.append(job["id"])
        try:
            await self.gates.setdefault(job["id"], asyncio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(job["id"])
            raise
        if job.get("input") == "raise":
            raise ValueError("not for the client")
        yield job["id"]

    async def monitor(self, session) -> None:
        self.monitored.append(session)
        await asyncio.Event().wait()

    async def take_job(self, job_id: str) -> None:
        """Let the scaler fetch a job; return before the job's first step."""
        self.platform.give(jobs(job_id))
        while job_id not in self.scaler.jobs_tasks:
            await asyncio.sleep(0)
        assert self.started == []

    def finish(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self.gates[job_id].set()


async def drain_loop(count: int = 30) -> None:
    """Run the event loop without waiting for a timer."""
    for _ in range(count):
        await asyncio.sleep(0)


def jobs(*ids: str) -> list[dict]:
    return [{"id": job_id, "input": None} for job_id in ids]


@pytest.fixture
async def harness(monkeypatch) -> AsyncIterator[Harness]:
    made = Harness()
    monkeypatch.setattr(loop_module, "JobRunner", lambda _session: JobRunner(made.results))
    monkeypatch.setattr(loop_module, "FINAL_FETCH_GRACE_S", 0.05)
    # Waits that a test does not shorten are too long to be over by chance.
    monkeypatch.setattr(loop_module, "MIN_POLL_INTERVAL_S", 60)
    monkeypatch.setattr(loop_module, "FIRST_RETRY_S", 60)
    monkeypatch.setattr(loop_module, "TOO_MANY_REQUESTS_WAIT_S", 60)
    made.running = asyncio.create_task(made.scaler.run())
    await drain_loop()
    yield made
    made.scaler.kill_worker()
    for job_id in list(made.scaler.jobs_tasks):
        await made.scaler.stop_job(job_id)
    await asyncio.wait({made.running}, timeout=5)
    assert made.running.done()
    assert made.scaler.jobs_tasks == {}
    assert JobsProgress().get_job_list() is None


async def test_job_starts_when_it_arrives(harness):
    assert harness.platform.asked == [PLACES]
    harness.platform.give(jobs("a"))
    await drain_loop()
    assert harness.started == ["a"]


async def test_next_fetch_asks_for_the_free_slots(harness):
    harness.platform.give(jobs("a"))
    await drain_loop()
    harness.platform.give(jobs("b", "c"))
    await drain_loop()
    assert harness.platform.asked == [3, 2]
    assert harness.started == ["a", "b", "c"]


async def test_fetch_never_asks_for_more_jobs_than_a_platform_hands_out(harness, monkeypatch):
    monkeypatch.setattr(loop_module, "MAX_FETCHED_JOBS", 2)
    harness.platform.give(jobs("a"))
    await drain_loop()
    harness.scaler.current_concurrency = 10
    harness.platform.give(jobs("b", "c"))
    await drain_loop()
    assert harness.platform.asked == [3, 2, 2]
    assert harness.started == ["a", "b", "c"]


def test_largest_fetch_is_one_that_the_local_endpoint_answers():
    assert loop_module.MAX_FETCHED_JOBS <= MAX_BATCH


async def test_full_worker_fetches_again_after_a_slot_is_freed(harness):
    harness.platform.give(jobs("a", "b", "c"))
    await drain_loop()
    assert harness.platform.asked == [3]
    harness.finish("b")
    await drain_loop()
    assert harness.platform.asked == [3, 1]
    assert harness.results == {"b": {"output": ["b"]}}


async def test_heartbeat_knows_the_jobs_in_progress(harness):
    harness.platform.give(jobs("a", "b"))
    await drain_loop()
    assert set(JobsProgress().get_job_list().split(",")) == {"a", "b"}
    harness.finish("a")
    await drain_loop()
    assert JobsProgress().get_job_list() == "b"


async def test_stopped_job_is_cancelled_and_not_reported(harness):
    harness.platform.give(jobs("a", "b"))
    await drain_loop()
    assert await harness.scaler.stop_job("a")
    await drain_loop()
    harness.finish("b")
    await drain_loop()
    assert harness.cancelled == ["a"]
    assert harness.results == {"b": {"output": ["b"]}}


async def test_job_stopped_before_its_first_step_frees_its_slot(harness):
    await harness.take_job("a")
    assert await harness.scaler.stop_job("a")
    await drain_loop()
    assert harness.scaler.jobs_tasks == {}
    assert harness.started == []


@pytest.mark.parametrize(
    "job",
    [
        pytest.param({"input": 1}, id="no-id"),
        pytest.param({"id": 7, "input": 1}, id="id-is-a-number"),
        pytest.param({"id": None, "input": 1}, id="id-is-null"),
        pytest.param({"id": "", "input": 1}, id="id-is-empty"),
        pytest.param({"id": "a\n", "input": 1}, id="id-has-a-line-end"),
        pytest.param({"id": "a\udc80", "input": 1}, id="id-is-not-unicode"),
        pytest.param("text", id="text"),
        pytest.param(None, id="null"),
    ],
)
async def test_job_without_id_is_logged_and_the_others_run(harness, job, capsys):
    harness.platform.give([job, *jobs("a")])
    await drain_loop()
    assert harness.started == ["a"]
    assert "without a usable id" in capsys.readouterr().out


async def test_job_that_is_already_running_is_ignored(harness):
    harness.platform.give(jobs("a", "a"), jobs("a"))
    await drain_loop()
    assert harness.started == ["a"]
    harness.finish("a")
    await drain_loop()
    assert harness.results == {"a": {"output": ["a"]}}


async def test_failed_handler_is_reported_without_details_and_the_others_go_on(harness, capsys):
    harness.platform.give([{"id": "a", "input": "raise"}, *jobs("b")])
    await drain_loop()
    harness.finish("a", "b")
    await drain_loop()
    error = json.loads(harness.results["a"]["error"])["error"]
    assert error["code"] == Code.INTERNAL_ERROR
    assert "not for the client" not in harness.results["a"]["error"]
    assert "not for the client" in capsys.readouterr().out
    assert harness.results["b"] == {"output": ["b"]}


@pytest.mark.parametrize("answer", [None, []], ids=["nothing", "empty-list"])
async def test_empty_fetch_answered_at_once_is_repeated_after_a_wait(harness, answer):
    harness.platform.give(answer, answer)
    await drain_loop(200)
    assert harness.platform.asked == [3]


async def test_fetch_that_timed_out_is_repeated_at_once(harness):
    harness.platform.give(TimeoutError(), TimeoutError(), jobs("a"))
    await drain_loop(100)
    assert harness.started == ["a"]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("broken"), id="any-error"),
        pytest.param(sdk.TooManyRequests(None, ()), id="too-many-requests"),
    ],
)
async def test_failed_fetch_is_repeated_after_a_wait(harness, monkeypatch, error):
    harness.platform.give(error)
    await drain_loop(100)
    assert harness.platform.asked == [3]


@pytest.mark.parametrize("count", [1, 5])
async def test_failed_fetches_are_repeated_until_one_succeeds(monkeypatch, harness, count):
    monkeypatch.setattr(loop_module, "TOO_MANY_REQUESTS_WAIT_S", 0)
    monkeypatch.setattr(loop_module, "MAX_RETRY_S", 0)
    harness.platform.give(*[sdk.TooManyRequests(None, ())] * count, jobs("a"))
    await drain_loop(100)
    assert harness.started == ["a"]
    assert len(harness.platform.asked) == count + 2


async def test_failed_fetch_leaves_no_reference_cycle(harness, monkeypatch):
    """Seen in a soak, as with refused jobs: memory rose until the next full collection."""
    monkeypatch.setattr(loop_module, "TOO_MANY_REQUESTS_WAIT_S", 0)
    with reference_cycles(sdk.TooManyRequests) as left:
        harness.platform.give(sdk.TooManyRequests(None, ()))
        await drain_loop()
    assert len(harness.platform.asked) == 2
    assert left == []


async def test_shutdown_finishes_running_jobs_and_fetches_no_more(harness):
    harness.platform.give(jobs("a"))
    await drain_loop()
    harness.scaler.kill_worker()
    await asyncio.sleep(0.1)
    harness.platform.give(jobs("late"))
    await drain_loop()
    assert not harness.running.done()
    harness.finish("a")
    await asyncio.wait_for(harness.running, 15)
    assert harness.started == ["a"]
    assert harness.results == {"a": {"output": ["a"]}}


async def test_shutdown_runs_a_job_of_the_final_fetch(harness, monkeypatch):
    harness.scaler.kill_worker()
    harness.platform.give(jobs("a"))
    await drain_loop()
    assert harness.started == ["a"]
    harness.finish("a")
    await asyncio.wait_for(harness.running, 15)
    assert harness.results == {"a": {"output": ["a"]}}


async def test_shutdown_with_all_slots_in_use_ends(harness):
    harness.platform.give(jobs("a", "b", "c"))
    await drain_loop()
    harness.scaler.kill_worker()
    await asyncio.sleep(0.1)
    harness.finish("a", "b", "c")
    await asyncio.wait_for(harness.running, 15)
    assert len(harness.results) == 3


async def test_abort_reports_the_reason_for_every_job(harness):
    harness.platform.give(jobs("a", "b"))
    await drain_loop()
    harness.scaler.kill_worker()
    harness.scaler.abort_jobs(request_error(Code.WORKER_STOPPING, "It ends."))
    await asyncio.wait_for(harness.running, 15)
    for job_id in ("a", "b"):
        error = json.loads(harness.results[job_id]["error"])["error"]
        assert (error["code"], error["message"]) == (Code.WORKER_STOPPING, "It ends.")
    assert sorted(harness.cancelled) == ["a", "b"]


async def test_abort_reports_a_job_of_the_final_fetch(harness):
    harness.scaler.kill_worker()
    harness.scaler.abort_jobs(request_error(Code.WORKER_STOPPING, "It ends."))
    harness.platform.give(jobs("late"))
    await asyncio.wait_for(harness.running, 15)
    assert harness.started == []
    error = json.loads(harness.results["late"]["error"])["error"]
    assert (error["code"], error["message"]) == (Code.WORKER_STOPPING, "It ends.")


async def test_abort_reports_a_job_that_has_not_started(harness):
    await harness.take_job("a")
    harness.scaler.abort_jobs(request_error(Code.WORKER_STOPPING, "It ends."))
    await drain_loop()
    assert harness.started == []
    assert "It ends." in harness.results["a"]["error"]


async def test_error_in_the_loop_ends_the_worker(harness):
    harness.platform.give(5)  # Not even a list: the SDK never returns this.
    with pytest.raises(TypeError):
        await asyncio.wait_for(harness.running, 15)


async def test_abort_keeps_a_result_that_is_being_posted(harness, monkeypatch):
    posting = asyncio.Event()
    posted = asyncio.Event()

    async def report_result(self, job_id, result) -> dict:
        posting.set()
        await posted.wait()
        harness.results[job_id] = result
        return result

    monkeypatch.setattr(JobRunner, "report_result", report_result)
    harness.platform.give(jobs("a"))
    await drain_loop()
    harness.finish("a")
    await posting.wait()
    harness.scaler.abort_jobs(request_error(Code.WORKER_STOPPING, "stopped"))
    await drain_loop()
    posted.set()
    await drain_loop()
    assert harness.results == {"a": {"output": ["a"]}}


async def test_frozen_worker_fetches_and_listens_for_stop_signals_again(harness, monkeypatch):
    monkeypatch.setattr(loop_module, "CLOCK_POLL_S", 0.01)
    monkeypatch.setattr(loop_module, "MIN_POLL_INTERVAL_S", 0)
    harness.platform.give(jobs("a"))
    await drain_loop()
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    await asyncio.sleep(0.05)
    takes = len(harness.platform.asked)
    now[0] += loop_module.FREEZE_S + 1
    async with asyncio.timeout(5):
        while len(harness.platform.asked) == takes:
            await asyncio.sleep(0.01)
    harness.platform.give(jobs("b"))
    await drain_loop()
    assert harness.started == ["a", "b"]
    assert len(harness.monitored) == 2


async def test_job_logs_one_line_without_its_content(harness, capsys):
    harness.platform.give(jobs("job-1"))
    await drain_loop()
    harness.finish("job-1")
    await drain_loop()
    about = [line for line in capsys.readouterr().out.splitlines() if "job-1" in line]
    assert len(about) == 1
    assert "Finished: 0.0" in about[0]
