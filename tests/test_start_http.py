"""The production worker's life over HTTP, with a fake engine: health tells each turn of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.pod import Pod, start
from worker.errors import ExitCode
from worker.request import Code


async def test_sigterm_while_loading_ends_in_order():
    async with start("time.sleep(60)") as pod:
        await pod.wait_health(204)
        while not any(line.startswith("engine ") for line in pod.lines):
            await asyncio.sleep(0.01)
        pod.process.terminate()
        assert await pod.exit_status() == ExitCode.OK


async def test_ready_is_reported_with_the_phases_of_the_start():
    async with start("serve(200)") as pod:
        await pod.wait_health(200)
        pod.process.terminate()
        assert await pod.exit_status() == ExitCode.OK
    line = next(line for line in pod.lines if "start: " in line)
    report = json.loads(line.partition("start: ")[2])
    assert report["event"] == "ready"
    assert abs(sum(report["phases"].values()) - report["seconds"]) < 0.1


async def test_engine_that_dies_fails_waiting_requests_and_ends_the_worker():
    async with start("serve(200)") as pod:
        await pod.wait_health(200)
        waiting = asyncio.create_task(pod.ask())
        await asyncio.sleep(0.2)
        os.kill(pod.engine_pid, signal.SIGKILL)
        assert (await asyncio.wait_for(waiting, 10))[1] == Code.ENGINE_DIED
        assert await pod.exit_status() == ExitCode.ENGINE_DIED


async def test_request_that_does_not_end_is_ended_with_the_worker():
    async with start("serve(200)", DRAIN_TIMEOUT_S="0.3") as pod:
        await pod.wait_health(200)
        waiting = asyncio.create_task(pod.ask())
        await asyncio.sleep(0.2)
        pod.process.terminate()
        await pod.wait_health(503)
        assert await waiting == (503, Code.WORKER_STOPPING)
        assert await pod.exit_status() == ExitCode.OK


async def test_port_that_is_taken_ends_the_start_with_its_name():
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with start("serve(200)", PORT=port) as pod:
            assert await asyncio.wait_for(pod.process.wait(), 20) == ExitCode.UNAVAILABLE
    assert any(f"port {port} cannot be used" in line for line in pod.lines)


@pytest.mark.parametrize("key", [{}, {"WORKER_API_KEY": "sk-12345678"}], ids=["none", "one"])
async def test_serve_without_a_key_logs_a_warning(key):
    async with start("serve(200)", **key) as pod:
        await pod.wait_health(200)
    assert any("WORKER_API_KEY is not set" in line for line in pod.lines) is not bool(key)
    assert not any("sk-12345678" in line for line in pod.lines)


CANARY = b"canary-7d20"

MALFORMED = [
    pytest.param(b"GET /v1/models HTTP/1.1\r\nAuthorization : Bearer %s\r\n\r\n", id="space"),
    pytest.param(b"GET /v1/models HTTP/1.1\r\nAuthorization: %s\x00\r\n\r\n", id="nul"),
    pytest.param(b"GET /v1/models HTTP/1.1\r\nx-api-key: %s\nx\r\r\n\r\n", id="line ends"),
    pytest.param(b"GET /v1/models HTTP/9.9\r\nAuthorization: Bearer %s\r\n\r\n", id="version"),
    pytest.param(b"GET /v1/models?key=%s HTTP/1.1 x\r\n\r\n", id="request line"),
    pytest.param(b"%s\r\n\r\n", id="no HTTP"),
    pytest.param(b'{"prompt": "%s"}\r\n\r\n', id="body alone"),
    pytest.param(b"\x16\x03\x01\x02%s\r\n\r\n", id="TLS"),
    pytest.param(
        b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n", id="chunk"
    ),
    pytest.param(
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345%s\r\n\r\n", id="second"
    ),
    pytest.param(
        b"POST /v1/completions HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 11\r\n\r\n%s",
        id="no gzip",
    ),
    pytest.param(
        b"POST /v1/completions HTTP/1.1\r\nContent-Length: 11\r\n"
        b"Content-Type: application/json; charset=%s\r\n\r\n" + CANARY,
        id="charset",
    ),
]


@asynccontextmanager
async def serve(**variables: str) -> AsyncIterator[Pod]:
    async with start("serve(200)", **variables) as pod:
        await pod.wait_health(200)
        yield pod


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_malformed_requests_leave_nothing_of_themselves_in_the_log(log_format):
    async with serve(WORKER_LOG_FORMAT=log_format, WORKER_API_KEY="key-5b1c9a77") as pod:
        for case in MALFORMED:
            (head_of,) = case.values
            assert isinstance(head_of, bytes)
            head = head_of % CANARY
            port = int(pod.url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            writer.write_eof()
            with suppress(ConnectionError, TimeoutError):  # Some of them get no reply.
                await asyncio.wait_for(reader.read(65536), 0.5)
            writer.close()
        assert await pod.health() == 200
        pod.process.send_signal(signal.SIGTERM)
        assert await pod.exit_status() == ExitCode.OK
    printed = "\n".join(pod.lines)
    assert "Error handling request" in printed
    assert "HttpMessage" in printed, "the type of the exception is missing"
    assert CANARY.decode() not in printed
    assert "key-5b1c9a77" not in printed
