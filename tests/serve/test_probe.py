"""The container's own health check."""

import asyncio

import pytest

from worker.serve import State
from worker.serve.probe import run_health
from worker.settings.endpoint import JOB_SOURCE


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        (State.STARTING, 1, "loading"),
        (State.READY, 0, "ready"),
        (State.STOPPING, 1, "not healthy"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
async def test_health_of_a_server(harness, capsys, state, status, words):
    await harness.open(two_ports=True, health_path="/up")
    harness.server.stop_accepting(state)
    environ = {
        "WORKER_MODE": "pod",
        "PORT": str(harness.port),
        "PORT_HEALTH": str(harness.health_port),
        "HEALTH_CHECK_PATH": "/up",
    }
    assert await asyncio.to_thread(run_health, environ) == status
    assert words in capsys.readouterr().out


def test_health_without_a_server(capsys):
    assert run_health({"WORKER_MODE": "pod", "PORT": "9"}) == 1


def test_health_of_a_machine_that_follows_another(capsys):
    cluster = {"MULTI_NODE": "1", "NUM_NODES": "2", "NODE_RANK": "1", "PRIMARY_ADDR": "10.0.0.1"}
    sizes = {"TENSOR_PARALLEL_SIZE": "2", "NODE_ADDR": "10.0.0.2"}
    assert run_health({"WORKER_MODE": "pod", **cluster, **sizes}) == 0
    assert "follows another one" in capsys.readouterr().out


def test_health_of_a_queue_worker(capsys):
    assert run_health({JOB_SOURCE: "http://x/$ID"}) == 0


def test_health_with_a_bad_setting_names_it(capsys):
    assert run_health({"WORKER_MODE": "pot"}) == 1
    assert "WORKER_MODE" in capsys.readouterr().out
