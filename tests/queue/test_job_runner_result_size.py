"""What a job keeps of a streamed answer that is larger than RunPod takes as a result."""

import json
import weakref

import aiohttp
import pytest
from aiohttp import web

from worker.queue import job_runner
from worker.queue.job_runner import MAX_RESULT_BYTES, JobRunner
from worker.queue.job_stats import JobStats
from worker.request.codes import Code

OUTPUT_BYTES = 500_000


class Output(dict):
    """An output that a test can see being freed."""


@pytest.fixture
async def post_sizes(tmp_path, monkeypatch):
    """Sizes of the posts that RunPod got; posts go to a server on a Unix socket."""
    sizes: list[int] = []

    async def accept(request):
        sizes.append(len(await request.read()))
        return web.Response()

    app = web.Application(client_max_size=2 * MAX_RESULT_BYTES)
    app.router.add_post("/{path:.*}", accept)
    server = web.AppRunner(app)
    await server.setup()
    await web.UnixSite(server, str(tmp_path / "s")).start()
    for name in ("job_stream_url", "job_done_url"):
        monkeypatch.setattr(job_runner, name, lambda job_id: f"http://runpod/{job_id}")
    yield sizes
    await server.cleanup()


@pytest.fixture
async def runner(tmp_path, post_sizes):
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(tmp_path / "s"))) as s:
        yield JobRunner(s)


def handler_of(count: int, alive: list[int]):
    """Return a handler that yields `count` outputs and counts those that are still referenced."""

    async def handle(job):
        yielded: list[weakref.ref[Output]] = []
        for _ in range(count):
            output = Output(text="x" * OUTPUT_BYTES)
            yielded.append(weakref.ref(output))
            yield output
            del output
            alive.append(sum(ref() is not None for ref in yielded))

    return handle


async def test_stream_above_the_result_limit_is_not_kept_in_memory(runner, post_sizes):
    count, alive = 3 * MAX_RESULT_BYTES // OUTPUT_BYTES, []
    result = await runner.run(handler_of(count, alive), {"id": "j"}, JobStats())
    assert max(alive) <= MAX_RESULT_BYTES // OUTPUT_BYTES
    assert len(post_sizes) == count, "the reader of the stream gets everything"
    error = json.loads(result["error"])["error"]
    assert error["code"] == Code.RESULT_TOO_LARGE
    assert f"of {count} chunks" in error["message"]


async def test_stream_below_the_result_limit_is_the_result(runner, post_sizes):
    count = MAX_RESULT_BYTES // OUTPUT_BYTES - 1
    result = await runner.run(handler_of(count, []), {"id": "j"}, JobStats())
    assert len(result["output"]) == len(post_sizes) == count
    assert len(json.dumps(result)) <= MAX_RESULT_BYTES
