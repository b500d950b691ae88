"""Whatever ends a start is one readable error, an exit status, and a report to RunPod."""

import asyncio
import os
import subprocess
import sys

import pytest

from worker.errors import ExitCode
from worker.failure import UnforeseenError, holds_part
from worker_tools.dev import LocalEndpoint
from worker_tools.dev.deployment import DEFAULTS

ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
TOKEN = "hf_averysecretvalue"
START = "import os, sys; from worker.start import run_worker; sys.exit(run_worker(os.environ))"
FAULT = """
import os, sys
from worker import start
def load(environ):
    raise RuntimeError({message!r})
start.load_settings = load
sys.exit(start.run_worker(os.environ))
"""


async def run_start(program: str, **variables: str) -> tuple[int, str, str | None]:
    """Run a start under a local endpoint; return its status, its output and RunPod's report."""
    endpoint = LocalEndpoint()
    await endpoint.start()
    platform = endpoint.worker_environment("worker-1")
    environ = {**DEFAULTS, **ENVIRON, **platform, "MODEL_NAME": "org/name", **variables}
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            env=environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 50)
        return (
            process.returncode or 0,
            output.decode(),
            endpoint.store.workers.get("worker-1").unhealthy,
        )
    finally:
        await endpoint.stop()


@pytest.mark.parametrize(
    ("variables", "hidden"),
    [
        ({"VLLM_API_KEY": "EMPTY"}, "EMPTY'"),
        ({"WORKER_API_KEY": "sk-1234"}, "sk-1234"),
        ({"HEALTH_CHECK_PATH": "/"}, None),
        ({"HEALTH_CHECK_PATH": "health"}, None),
        ({"HEALTH_CHECK_PATH": "/{"}, None),
        ({"HEALTH_CHECK_PATH": "/" + "x" * 300}, None),
    ],
)
async def test_start_with_a_value_that_cannot_work_is_a_reported_problem(variables, hidden):
    status, output, unhealthy = await run_start(START, **variables)
    name = next(iter(variables))
    assert status == ExitCode.CONFIGURATION
    assert name in output
    assert "Traceback" not in output
    assert unhealthy is not None
    assert name in unhealthy
    assert hidden is None or hidden not in output + unhealthy


async def test_start_that_ends_with_an_unforeseen_error_is_reported_without_traceback():
    status, output, unhealthy = await run_start(FAULT.format(message="no such thing"))
    assert status == ExitCode.FAILURE
    assert "Traceback" not in output
    assert "error: RuntimeError at <string>:" in output
    assert "no such thing" in output
    assert unhealthy is not None
    assert unhealthy.startswith("failure: RuntimeError at ")


async def test_start_that_ends_with_an_unforeseen_error_shows_no_part_of_a_secret():
    message = f"cannot use {TOKEN[:12]}...{TOKEN[-4:]}"
    status, output, unhealthy = await run_start(FAULT.format(message=message), HF_TOKEN=TOKEN)
    assert status == ExitCode.FAILURE
    assert "RuntimeError" in output
    assert TOKEN[:8] not in f"{output}{unhealthy}"


def test_start_that_cannot_import_what_it_needs_ends_with_the_reason(tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ImportError('no uvloop here')")
    result = subprocess.run(
        [sys.executable, "-m", "worker", "start"],
        env={**ENVIRON, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == ExitCode.FAILURE
    assert "no uvloop here" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["check", "fit", "health", "profiles", "deploy"])
def test_command_that_ends_with_an_unforeseen_error_shows_no_traceback(command, tmp_path):
    (tmp_path / "orjson.py").write_text("raise RuntimeError('broken installation')")
    result = subprocess.run(
        [sys.executable, "-m", "worker", command],
        env={**ENVIRON, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == ExitCode.FAILURE
    assert "broken installation" in result.stderr
    assert "Traceback" not in result.stderr


def test_unforeseen_error_of_pydantic_does_not_repeat_its_input():
    import pydantic

    class Model(pydantic.BaseModel):
        number: int

    with pytest.raises(pydantic.ValidationError) as caught:
        Model(number="something private")
    text = str(UnforeseenError(caught.value, {}))
    assert "number: Input should be a valid integer" in text
    assert "private" not in text


@pytest.mark.parametrize(
    ("text", "held"),
    [("got hf_ave…", True), ("got hf_av", False), ("secretvalue", True), ("", False)],
)
def test_holds_part_finds_six_characters_of_a_secret(text, held):
    assert holds_part(text, TOKEN) is held
