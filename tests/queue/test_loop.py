"""The job loop by itself: a fake platform and a fake job runner, no waits."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from garbage import garbage_of

from worker.queue import loop as loop_module
from worker.queue import sdk
from worker.queue.loop import EventDrivenScaler
from worker.request.codes import Code, request_error

PLACES = 3


class Platform:
    """Hands out what a test gives, one answer per take."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self._answers: asyncio.Queue = asyncio.Queue()

    def give(self, *answers) -> None:
        for answer in answers:
            self._answers.put_nowait(answer)

    async def take(self, _session, count: int):
        self.asked.append(count)
        answer = await self._answers.get()
        try:
            if isinstance(answer, BaseException):
                raise answer
            return answer
        finally:
            del answer  # An error that its own traceback leads to would be in a cycle.


class JobRunner:
    """Keeps results instead of posting them."""

    def __init__(self, results: dict) -> None:
        self._results = results

    async def run(self, handler, job, _stats) -> dict:
        return {"output": [output async for output in handler(job)]}

    async def report_result(self, job_id, result) -> dict:
        self._results[job_id] = result
        return result


class Bench:
    """A scaler that runs, the jobs that its handler has, and what became of them."""

    def __init__(self) -> None:
        self.platform = Platform()
        self.results: dict = {}
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.scaler = EventDrivenScaler(self.handle, PLACES)
        self.scaler.jobs_fetcher = self.platform.take
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

    def finish(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self.gates[job_id].set()


async def turn(count: int = 30) -> None:
    """Let the loop turn; no timer is waited for."""
    for _ in range(count):
        await asyncio.sleep(0)


def jobs(*ids: str) -> list[dict]:
    return [{"id": job_id, "input": None} for job_id in ids]


@pytest.fixture
async def bench(monkeypatch) -> AsyncIterator[Bench]:
    made = Bench()
    monkeypatch.setattr(loop_module, "JobRunner", lambda _session: JobRunner(made.results))
    monkeypatch.setattr(loop_module, "FINAL_FETCH_GRACE_S", 0.05)
    # Waits that a test does not shorten are too long to be over by chance.
    monkeypatch.setattr(loop_module, "MIN_POLL_INTERVAL_S", 60)
    monkeypatch.setattr(loop_module, "FIRST_RETRY_S", 60)
    monkeypatch.setattr(loop_module, "TOO_MANY_REQUESTS_WAIT_S", 60)
    made.running = asyncio.create_task(made.scaler.run())
    await turn()
    yield made
    made.scaler.kill_worker()
    for job_id in list(made.scaler.jobs_tasks):
        await made.scaler.stop_job(job_id)
    await asyncio.wait({made.running}, timeout=5)
    assert made.running.done()
    assert made.scaler.jobs_tasks == {}
    assert sdk.JobsProgress().get_job_list() is None


async def test_job_starts_when_it_arrives(bench):
    assert bench.platform.asked == [PLACES]
    bench.platform.give(jobs("a"))
    await turn()
    assert bench.started == ["a"]


async def test_next_take_asks_for_the_free_places(bench):
    bench.platform.give(jobs("a"))
    await turn()
    bench.platform.give(jobs("b", "c"))
    await turn()
    assert bench.platform.asked == [3, 2]
    assert bench.started == ["a", "b", "c"]


async def test_full_worker_takes_again_when_a_place_is_free(bench):
    bench.platform.give(jobs("a", "b", "c"))
    await turn()
    assert bench.platform.asked == [3]
    bench.finish("b")
    await turn()
    assert bench.platform.asked == [3, 1]
    assert bench.results == {"b": {"output": ["b"]}}


async def test_heartbeat_knows_the_jobs_in_progress(bench):
    bench.platform.give(jobs("a", "b"))
    await turn()
    assert set(sdk.JobsProgress().get_job_list().split(",")) == {"a", "b"}
    bench.finish("a")
    await turn()
    assert sdk.JobsProgress().get_job_list() == "b"


async def test_stopped_job_is_cancelled_and_not_reported(bench):
    bench.platform.give(jobs("a", "b"))
    await turn()
    assert await bench.scaler.stop_job("a")
    await turn()
    bench.finish("b")
    await turn()
    assert bench.cancelled == ["a"]
    assert bench.results == {"b": {"output": ["b"]}}


async def test_job_stopped_before_its_first_step_frees_its_place(bench):
    bench.scaler._begin(JobRunner(bench.results), jobs("a")[0])
    assert await bench.scaler.stop_job("a")
    await turn()
    assert bench.scaler.jobs_tasks == {}
    assert bench.started == []


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
async def test_job_without_id_is_logged_and_the_others_run(bench, job, capsys):
    bench.platform.give([job, *jobs("a")])
    await turn()
    assert bench.started == ["a"]
    assert "without a usable id" in capsys.readouterr().out


async def test_job_that_runs_already_is_not_run_twice(bench):
    bench.platform.give(jobs("a", "a"), jobs("a"))
    await turn()
    assert bench.started == ["a"]
    bench.finish("a")
    await turn()
    assert bench.results == {"a": {"output": ["a"]}}


async def test_failed_handler_is_reported_without_details_and_the_others_go_on(bench, capsys):
    bench.platform.give([{"id": "a", "input": "raise"}, *jobs("b")])
    await turn()
    bench.finish("a", "b")
    await turn()
    error = json.loads(bench.results["a"]["error"])["error"]
    assert error["code"] == Code.INTERNAL_ERROR
    assert "not for the client" not in bench.results["a"]["error"]
    assert "not for the client" in capsys.readouterr().out
    assert bench.results["b"] == {"output": ["b"]}


@pytest.mark.parametrize("answer", [None, []], ids=["nothing", "empty-list"])
async def test_take_that_is_not_held_open_is_not_repeated_at_once(bench, answer):
    bench.platform.give(answer, answer)
    await turn(200)
    assert bench.platform.asked == [3]


async def test_take_that_timed_out_is_repeated_at_once(bench):
    bench.platform.give(TimeoutError(), TimeoutError(), jobs("a"))
    await turn(100)
    assert bench.started == ["a"]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("broken"), id="any-error"),
        pytest.param(sdk.TooManyRequests(None, ()), id="too-many-requests"),
    ],
)
async def test_take_that_failed_is_repeated_after_a_wait(bench, monkeypatch, error):
    bench.platform.give(error)
    await turn(100)
    assert bench.platform.asked == [3]


@pytest.mark.parametrize("count", [1, 5])
async def test_takes_that_failed_are_repeated_until_one_succeeds(monkeypatch, bench, count):
    monkeypatch.setattr(loop_module, "TOO_MANY_REQUESTS_WAIT_S", 0)
    monkeypatch.setattr(loop_module, "MAX_RETRY_S", 0)
    bench.platform.give(*[sdk.TooManyRequests(None, ())] * count, jobs("a"))
    await turn(100)
    assert bench.started == ["a"]
    assert len(bench.platform.asked) == count + 2


async def test_take_that_failed_leaves_no_garbage_behind(bench, monkeypatch):
    monkeypatch.setattr(loop_module, "TOO_MANY_REQUESTS_WAIT_S", 0)
    with garbage_of(sdk.TooManyRequests) as left:
        bench.platform.give(sdk.TooManyRequests(None, ()))
        await turn()
    assert len(bench.platform.asked) == 2
    assert left == []


async def test_shutdown_lets_jobs_end_and_takes_no_more(bench):
    bench.platform.give(jobs("a"))
    await turn()
    bench.scaler.kill_worker()
    await asyncio.sleep(0.1)
    bench.platform.give(jobs("late"))
    await turn()
    assert not bench.running.done()
    bench.finish("a")
    await asyncio.wait_for(bench.running, 15)
    assert bench.started == ["a"]
    assert bench.results == {"a": {"output": ["a"]}}


async def test_shutdown_answers_a_job_that_was_handed_out_already(bench, monkeypatch):
    bench.scaler.kill_worker()
    bench.platform.give(jobs("a"))
    await turn()
    assert bench.started == ["a"]
    bench.finish("a")
    await asyncio.wait_for(bench.running, 15)
    assert bench.results == {"a": {"output": ["a"]}}


async def test_shutdown_while_all_places_are_taken_ends(bench):
    bench.platform.give(jobs("a", "b", "c"))
    await turn()
    bench.scaler.kill_worker()
    await asyncio.sleep(0.1)
    bench.finish("a", "b", "c")
    await asyncio.wait_for(bench.running, 15)
    assert len(bench.results) == 3


async def test_abort_reports_the_reason_for_every_job(bench):
    bench.platform.give(jobs("a", "b"))
    await turn()
    bench.scaler.kill_worker()
    bench.scaler.abort_jobs(request_error(Code.WORKER_STOPPING, "It ends."))
    await asyncio.wait_for(bench.running, 15)
    for job_id in ("a", "b"):
        error = json.loads(bench.results[job_id]["error"])["error"]
        assert (error["code"], error["message"]) == (Code.WORKER_STOPPING, "It ends.")
    assert sorted(bench.cancelled) == ["a", "b"]


async def test_abort_reports_a_job_that_the_last_take_brings_afterwards(bench):
    bench.scaler.kill_worker()
    bench.scaler.abort_jobs(request_error(Code.WORKER_STOPPING, "It ends."))
    bench.platform.give(jobs("late"))
    await asyncio.wait_for(bench.running, 15)
    assert bench.started == []
    error = json.loads(bench.results["late"]["error"])["error"]
    assert (error["code"], error["message"]) == (Code.WORKER_STOPPING, "It ends.")


async def test_abort_reports_a_job_that_has_not_begun(bench):
    bench.scaler._begin(JobRunner(bench.results), jobs("a")[0])
    bench.scaler.abort_jobs(request_error(Code.WORKER_STOPPING, "It ends."))
    await turn()
    assert bench.started == []
    assert "It ends." in bench.results["a"]["error"]


async def test_mistake_in_the_loop_itself_ends_the_worker(bench):
    bench.platform.give(5)  # Not even a list: the SDK never returns this.
    with pytest.raises(TypeError):
        await asyncio.wait_for(bench.running, 15)


async def test_abort_leaves_a_job_alone_whose_result_is_on_its_way(bench, monkeypatch):
    posting = asyncio.Event()
    posted = asyncio.Event()

    async def report_result(self, job_id, result) -> dict:
        posting.set()
        await posted.wait()
        bench.results[job_id] = result
        return result

    monkeypatch.setattr(JobRunner, "report_result", report_result)
    bench.platform.give(jobs("a"))
    await turn()
    bench.finish("a")
    await posting.wait()
    bench.scaler.abort_jobs(request_error(Code.WORKER_STOPPING, "stopped"))
    await turn()
    posted.set()
    await turn()
    assert bench.results == {"a": {"output": ["a"]}}


async def test_frozen_worker_takes_on_a_new_connection(bench, monkeypatch):
    monkeypatch.setattr(loop_module, "CLOCK_POLL_S", 0.01)
    monkeypatch.setattr(loop_module, "MIN_POLL_INTERVAL_S", 0)
    bench.platform.give(jobs("a"))
    await turn()
    now = [0.0]
    monkeypatch.setattr(loop_module.time, "time", lambda: now[0])
    await asyncio.sleep(0.05)
    takes = len(bench.platform.asked)
    now[0] += loop_module.FREEZE_S + 1
    async with asyncio.timeout(5):
        while len(bench.platform.asked) == takes:
            await asyncio.sleep(0.01)
    bench.platform.give(jobs("b"))
    await turn()
    assert bench.started == ["a", "b"]


async def test_frozen_worker_listens_for_stop_signals_on_a_new_connection(bench):
    listened = []

    async def monitor(session) -> None:
        listened.append(session)
        await asyncio.Event().wait()

    bench.scaler.monitor_stop_signals = monitor
    watching = asyncio.create_task(bench.scaler._watch_stop_signals("session"))
    await turn()
    assert listened == ["session"]
    bench.scaler._thawed.set()
    await turn()
    assert listened == ["session"] * 2
    watching.cancel()
    await asyncio.wait({watching})


async def test_job_leaves_one_line_in_the_log_without_its_text(bench, capsys):
    bench.platform.give(jobs("job-1"))
    await turn()
    bench.finish("job-1")
    await turn()
    about = [line for line in capsys.readouterr().out.splitlines() if "job-1" in line]
    assert len(about) == 1
    assert "Finished: 0.0" in about[0]
