"""Batches of a file against the local endpoint: nothing is lost or sent twice, whatever happens."""

from __future__ import annotations

from contextlib import suppress

import pytest

from worker.errors import UnavailableError
from worker_tools.batch import run as run_module
from worker_tools.batch.api import BatchClient, RejectedError, UnansweredError
from worker_tools.batch.input_file import read_input_file
from worker_tools.batch.plan import split_parts
from worker_tools.batch.results import write_results
from worker_tools.batch.run import BatchRun, Observer
from worker_tools.batch.state import Part, Progress, StateFolder

COUNT, PER_BATCH, CALL_BYTES = 7, 4, 420
"""Two batches; the first takes two calls."""


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the run may catch it."""


class FailingClient(BatchClient):
    """Ends or fails at one call.

    Attributes:
        calls: Number of calls so far.
    """

    def __init__(self, url: str, at: int, error: BaseException, *, processed: bool) -> None:
        super().__init__(url, None, patience_s=5)
        self.calls = 0
        self._at = at
        self._error = error
        self._processed = processed

    async def send(self, method, path, body=None):
        self.calls += 1
        if self.calls != self._at:
            return await super().send(method, path, body)
        if self._processed:
            await super().send(method, path, body)
        raise self._error


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(run_module, "FIRST_POLL_S", 0.01)
    monkeypatch.setattr(run_module, "MAX_POLL_S", 0.05)
    monkeypatch.setattr(run_module, "SETTLE_S", 0.01)


@pytest.fixture
def source(tmp_path, write_file):
    return read_input_file(write_file(tmp_path / "requests.jsonl", COUNT), 10_000)


class Session:
    """What one command after the other sees of a file's progress."""

    def __init__(self, source, url, tmp_path):
        self.source = source
        self.url = url
        self.folder = StateFolder(tmp_path / "state")
        self.paths = (tmp_path / "output.jsonl", tmp_path / "errors.jsonl")
        self.notes: list[str] = []

    async def follow(self, client, *, cancel=False):
        with self.folder.lock():
            progress = self.folder.load(self.url, self.source.sha256)
            if progress is None:
                split = split_parts(len(self.source.lines), PER_BATCH)
                parts = [Part(first=first, count=count) for first, count in split]
                progress = Progress(endpoint=self.url, sha256=self.source.sha256, parts=parts)
                self.folder.save(progress)
            observer = Observer(lambda _ended, _failed: None, self.notes.append)
            async with client:
                run = BatchRun(client, self.source, progress, self.folder, observer, CALL_BYTES)
                await (run.cancel() if cancel else run.run())
        return write_results(self.source, progress, self.folder, *self.paths)


@pytest.fixture
def session(source, endpoint, tmp_path):
    return Session(source, endpoint.url, tmp_path)


async def test_run_answers_every_line_once(session, line_worker):
    tally = await session.follow(BatchClient(session.url, None))
    assert (tally.answered, tally.failed) == (COUNT, 0)
    assert set(line_worker.processed.values()) == {1}
    assert tally.tokens == {
        "input": 3 * COUNT,
        "cached": COUNT,
        "output": 2 * COUNT,
        "reasoning": 0,
    }


async def count_calls(session):
    client = FailingClient(session.url, 0, Killed(), processed=False)
    await session.follow(client)
    return client.calls


async def test_run_killed_at_any_call_goes_on_without_loss_or_repetition(
    source, tmp_path, start_worker
):
    """Kills the command at every call, once before the call takes effect and once after."""
    async with start_worker() as (endpoint, _worker):
        calls = await count_calls(Session(source, endpoint.url, tmp_path / "count"))
    for at in range(1, calls + 1):
        for processed in (False, True):
            async with start_worker() as (endpoint, worker):
                folder = tmp_path / f"{at}-{processed}"
                session = Session(source, endpoint.url, folder)
                # The number of polls varies; the last calls may not happen.
                with suppress(Killed):
                    await session.follow(
                        FailingClient(session.url, at, Killed(), processed=processed)
                    )
                tally = await session.follow(BatchClient(session.url, None))
                assert (tally.answered, tally.failed) == (COUNT, 0), (at, processed)
                assert set(worker.processed.values()) == {1}, (at, processed)
                assert len(worker.processed) == COUNT, (at, processed)


@pytest.mark.parametrize("processed", [False, True], ids=["lost", "reply-lost"])
async def test_run_with_any_lost_call_sends_nothing_twice(
    source, tmp_path, start_worker, processed, monkeypatch
):
    monkeypatch.setattr("worker_tools.batch.api.FIRST_RETRY_S", 0.01)
    for at in range(1, 13):
        async with start_worker() as (endpoint, worker):
            session = Session(source, endpoint.url, tmp_path / str(at))
            lost = UnansweredError("no answer")
            tally = await session.follow(FailingClient(session.url, at, lost, processed=processed))
            assert (tally.answered, tally.failed) == (COUNT, 0), at
            assert set(worker.processed.values()) == {1}, at


async def test_run_replaces_a_draft_that_holds_more_than_it_should(session, line_worker):
    class DoublingClient(BatchClient):
        async def append(self, batch_id, body):
            await super().append(batch_id, body)
            if not line_worker.doubled:
                line_worker.doubled = True
                await super().append(batch_id, body)

    line_worker.doubled = False
    tally = await session.follow(DoublingClient(session.url, None))
    assert line_worker.doubled
    assert (tally.answered, tally.failed) == (COUNT, 0)
    assert set(line_worker.processed.values()) == {1}


async def test_run_with_more_batches_than_allowed_submits_them_one_after_the_other(
    source, tmp_path, start_worker
):
    async with start_worker(batch_active=1) as (endpoint, worker):
        session = Session(source, endpoint.url, tmp_path)
        tally = await session.follow(BatchClient(session.url, None))
        assert (tally.answered, tally.failed) == (COUNT, 0)
        assert set(worker.processed.values()) == {1}


async def test_run_blocked_by_other_batches_gives_up_after_a_while(
    source, tmp_path, start_worker, monkeypatch
):
    monkeypatch.setattr(run_module, "WAIT_FOR_OTHERS_S", 0.1)
    async with start_worker(batch_active=1) as (endpoint, _worker):
        session = Session(source, endpoint.url, tmp_path)
        async with BatchClient(session.url, None) as other:
            await other.create()
        with pytest.raises(UnavailableError, match="1 active batches"):
            await session.follow(BatchClient(session.url, None))


async def test_cancel_before_any_request_starts_fails_every_line(session, endpoint):
    client = FailingClient(session.url, 10, Killed(), processed=False)
    with pytest.raises(Killed):
        await session.follow(client)
    tally = await session.follow(BatchClient(session.url, None), cancel=True)
    assert (tally.answered, tally.failed) == (0, COUNT)
    text = session.paths[1].read_text()
    assert text.count('"batch_cancelled"') == COUNT
    assert not endpoint.store.queued_of_batches()


async def test_cancel_keeps_what_has_ended(session, endpoint, line_worker):
    assert (await session.follow(BatchClient(session.url, None))).answered == COUNT
    tally = await session.follow(BatchClient(session.url, None), cancel=True)
    assert (tally.answered, tally.failed) == (COUNT, 0)


async def test_unknown_endpoint_is_rejected_with_advice(session, endpoint):
    async with BatchClient(f"{endpoint.url}x", None) as client:
        with pytest.raises(RejectedError, match=r"404.*--endpoint"):
            await client.create()
