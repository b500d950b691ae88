"""Build vLLM's configuration for the real model without loading it: `worker check --engine`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from worker.engine.environment import build_environment, find_package
from worker.engine.process import TAIL_LINES, EngineStartError
from worker.engine.startup_errors import explain_startup_failure
from worker.errors import UnavailableError
from worker.settings import Settings

COMMAND = (sys.executable, "-m", "worker.engine.child", "--configure")
"""The program; this process's id, the descriptor for reports and vLLM's arguments follow."""


def check_engine(settings: Settings, environ: Mapping[str, str]) -> float:
    """Build vLLM's configuration for these settings; return the duration in seconds.

    Raises:
        EngineStartError: vLLM rejects the arguments; the text has the reason and a remedy.
        UnavailableError: vLLM is not installed here.
    """
    environment = build_environment(environ, settings.engine_environment())
    timeout_s = settings.serving.start_timeout_s
    return build_configuration(settings.engine_arguments(), environment, timeout_s)


def build_configuration(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float,
    command: Sequence[str] = COMMAND,
) -> float:
    """Build vLLM's configuration in a child process; return the duration in seconds.

    Args:
        arguments: Arguments of `vllm serve`.
        environment: Environment of the process.
        timeout_s: Maximum time, seconds, including the download of the model's small files.
        command: The program.

    Raises:
        EngineStartError: vLLM rejects the arguments; the text has the reason and a remedy.
        UnavailableError: vLLM is not installed here.
    """
    if find_package("vllm") is None:
        raise UnavailableError(
            "vLLM is not installed here: run this in the worker's image, or where "
            "`pip install 'runpod-vllm-worker[cpu]'` has been run"
        )
    began = time.monotonic()
    # Files instead of pipes: nobody has to read while the process runs.
    with tempfile.TemporaryDirectory(prefix="worker-check-") as folder:
        reports, output = Path(folder, "reports"), Path(folder, "output")
        with reports.open("wb") as report_file, output.open("wb") as output_file:
            descriptor = report_file.fileno()
            try:
                done = subprocess.run(  # noqa: S603  our own program
                    [*command, str(os.getpid()), str(descriptor), *arguments],
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output_file,
                    stderr=subprocess.STDOUT,
                    pass_fds=[descriptor],
                    timeout=timeout_s,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise EngineStartError(
                    f"vLLM did not build its configuration within {timeout_s:.0f} s. Raise "
                    "START_TIMEOUT_S, or check whether the model hub is reachable"
                ) from None
        if done.returncode != 0:
            tail = output.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
            reason = explain_startup_failure(_read_error(reports), tail, done.returncode)
            raise EngineStartError(reason)
    return time.monotonic() - began


def _read_error(reports: Path) -> tuple[str, str] | None:
    """Return type and message of the exception that the child reported."""
    for line in reports.read_bytes().splitlines():
        report = orjson.loads(line)
        if "error" in report:
            return str(report["error"]), str(report["message"])
    return None
