from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from benchmarks.realistic import PARTNERS
from benchmarks.served import (
    CONTROL,
    ENGINE,
    HTTP,
    QUEUE,
    SERVE,
    Server,
    Service,
    drop_option,
    make_services,
)
from benchmarks.systems import EndedError


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    (tmp_path / "health").touch()
    command = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory")
    start = ("sh", "-c", f"exec {' '.join(command)} {tmp_path} $PORT")
    service = Service(HTTP, start, {}, takes_port=False)
    server = Server(service, tmp_path / "log")
    yield server
    await server.stop()


async def test_server_starts_waits_until_it_answers_and_ends(server):
    assert await server.start() > 0

    await server.stop()

    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))


async def test_server_that_ends_shows_what_it_printed(tmp_path):
    command = (sys.executable, "-c", "print('no such model')")
    server = Server(Service(SERVE, command, {}), tmp_path / "log")

    with pytest.raises(EndedError, match=r"(?s)vllm serve did not start.*no such model"):
        await server.start()


def test_make_services_gives_all_the_same_options(tmp_path, model):
    environ = {"MODEL_NAME": str(model), "MAX_NUM_SEQS": "77", "API_SERVER_COUNT": "3"}

    checkout = tmp_path / "checkout"
    (checkout / "src").mkdir(parents=True)
    (checkout / "src" / "main.py").touch()

    services = make_services({**environ, "VLLM_CACHE_ROOT": "/c"}, tmp_path, 30, checkout)

    serve = services[SERVE].command
    assert set(services) == {SERVE, *PARTNERS.values()}
    assert serve[:2] == (str(tmp_path / "shim" / "vllm"), "serve")
    assert services[CONTROL].command == serve
    assert services[ENGINE].command[3:] == serve[2:-3]
    assert serve[serve.index("--max-num-seqs") + 1] == "77"
    assert "--api-server-count" not in serve
    assert {service.environ["VLLM_CACHE_ROOT"] for service in services.values()} == {"/c"}
    assert services[QUEUE].command[-2:] == ("--rtt-ms", "30")


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param(["--a", "1"], ["--a", "1"], id="another"),
        pytest.param(["--a", "1", "--b", "2", "--c"], ["--a", "1", "--c"], id="between"),
        pytest.param(["--b", "2"], [], id="alone"),
    ],
)
def test_drop_option_leaves_the_other_arguments(arguments, left):
    assert drop_option(arguments, "--b") == left
