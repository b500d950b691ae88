"""A worker leaves the temporary folder as it was; the next one removes what a killed one leaves."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.support.deployment import make_environ
from tests.e2e.support.http_worker import serve_http
from worker.engine.run_folder import PREFIX
from worker.errors import ExitCode

COMPILED = "torchinductor_"
"""How PyTorch's cache of compiled code begins, which is for later starts."""


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder for one worker, with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def sockets(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_socket()]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.faults
async def test_killed_worker_is_tidied_up_after_and_a_stopped_one_leaves_nothing(
    tiny_model: Path, temporary: Path
) -> None:
    environ = make_environ(tiny_model, TMPDIR=str(temporary))
    async with aiohttp.ClientSession() as session:
        async with serve_http(session, environ) as killed:
            own = next(temporary.glob(f"{PREFIX}*"))
            assert len(sockets(own)) >= 3, "vLLM's own sockets are elsewhere"
            assert sockets(temporary) == sockets(own)
            killed.process.kill()
            await killed.process.wait()
        assert own.name in names(temporary)

        async with serve_http(session, environ) as stopped:
            folders = list(temporary.glob(f"{PREFIX}*"))
            assert len(folders) == 1
            assert folders[0] != own
            stopped.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                assert await stopped.process.wait() == ExitCode.OK
    assert {name for name in names(temporary) if not name.startswith(COMPILED)} == set()
