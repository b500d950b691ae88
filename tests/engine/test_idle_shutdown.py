from __future__ import annotations

import asyncio

import pytest

from worker.engine.idle_shutdown import cancel_output_handler_first


class Processor:
    def __init__(self, requests: int) -> None:
        self.requests = requests

    def has_unfinished_requests(self) -> bool:
        return self.requests > 0


class Client:
    """What `AsyncLLM` does at shutdown: close the connection, then cancel the output handler."""

    def __init__(self, requests: int) -> None:
        self.output_processor = Processor(requests)
        self.outputs: asyncio.Queue[Exception] = asyncio.Queue()
        self.errors: list[Exception] = []
        self.reader = asyncio.create_task(self.read())
        self.output_handler: asyncio.Task[None] | None = asyncio.create_task(self.handle())
        self.loop = asyncio.get_running_loop()

    async def read(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.outputs.put_nowait(RuntimeError("dead"))

    async def handle(self) -> None:
        self.errors.append(await self.outputs.get())

    def shutdown(self, timeout: float | None = None) -> float | None:
        self.loop.call_soon_threadsafe(self.reader.cancel)
        return timeout


@pytest.mark.parametrize("in_thread", [True, False])
@pytest.mark.parametrize(("requests", "errors"), [(0, 0), (1, 1)], ids=["idle", "busy"])
async def test_only_running_requests_see_an_error(in_thread, requests, errors):
    class Patched(Client):
        pass

    cancel_output_handler_first(Patched)
    client = Patched(requests)
    await asyncio.sleep(0)
    if in_thread:
        assert await asyncio.to_thread(client.shutdown, timeout=5) == 5
    else:
        assert client.shutdown(5) == 5
    await asyncio.wait({client.reader, client.output_handler}, timeout=15)
    assert len(client.errors) == errors
    assert client.output_handler.cancelled() is (errors == 0)


async def test_client_without_a_handler_is_shut_down():
    class Patched(Client):
        pass

    cancel_output_handler_first(Patched)
    client = Patched(0)
    handler, client.output_handler = client.output_handler, None
    client.shutdown()
    await asyncio.wait({client.reader, handler}, timeout=15)
    assert client.reader.done()
