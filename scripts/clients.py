"""Run tests/clients: the clients that users have, against one worker with the demo model.

    .venv/bin/python scripts/clients.py install   environments of the clients, from their locks
    .venv/bin/python scripts/clients.py test      the same, then the tests against `worker dev`

Runs in `.venv`; each group of clients in pyproject.toml has an environment of its own, because
clients need other versions of packages than vLLM, and than each other.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import environment
from environment import CLIENT_GROUPS, InstallError, Project

from worker_tools.demo.model import find_cache_dir, prepare_demo_model
from worker_tools.render.clients import list_clients

SETTINGS = {
    "ENABLE_AUTO_TOOL_CHOICE": "true",
    "TOOL_CALL_PARSER": "hermes",
    "VLLM_ENABLE_COHERE_API": "1",
    "MAX_MODEL_LEN": "2048",
}
"""Settings of the worker that the clients need."""

CLIENT_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "LANGSMITH_TRACING": "false",
}
"""Disables the telemetry of the clients."""

START_TIMEOUT_S = 240
STOP_TIMEOUT_S = 30
LAST_LINES = 60
"""Lines of the worker's output that a failed run prints."""


def find_environment(project: Project, group: str) -> Path:
    """Return the folder of a group's environment."""
    return project.root / ".venv-clients" / group


def install(project: Project) -> None:
    """Install the locked packages of each group in its environment."""
    environ = environment.read_uv_environment(project)
    for group in CLIENT_GROUPS:
        folder = find_environment(project, group)
        if not (folder / "bin" / "python").exists():
            command = [project.uv, "venv", "--quiet", "--clear", "--python", project.python]
            environment.run([*command, folder], project, environ)
        source = environment.choose_torch_source(environ)
        command = [project.uv, "pip", "sync", "--quiet", "--python", folder / "bin" / "python"]
        environment.run([*command, *source, project.client_lock(group)], project, environ)


class Worker:
    """`worker dev` with the demo model, and its output."""

    def __init__(self, project: Project) -> None:
        self.lines: list[str] = []
        self._seen: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            [project.worker, "dev", "--port", "0"],
            env={**os.environ, **SETTINGS, "MODEL_NAME": ""},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.lines.append(line)
            self._seen.put(line)
        self._seen.put(None)

    def wait_ready(self) -> tuple[str, str]:
        """Wait until the worker is ready; return its base URL and model.

        Raises:
            InstallError: It ended, or took too long.
        """
        found: dict[str, str] = {}
        with contextlib.suppress(queue.Empty):
            while line := self._seen.get(timeout=START_TIMEOUT_S):
                if match := re.match(r"\s+(base URL|model)\s+(\S+)$", line):
                    found[match[1]] = match[2]
                if len(found) == 2:
                    return found["base URL"], found["model"]
        raise InstallError("worker dev did not start:\n" + "".join(self.lines[-LAST_LINES:]))

    def stop(self) -> None:
        """Stop the worker and all of its processes."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextlib.contextmanager
def serve(project: Project) -> Iterator[tuple[Worker, dict[str, str]]]:
    """Run a worker and set the environment variables for the tests."""
    tokenizer = prepare_demo_model(find_cache_dir(os.environ))
    worker = Worker(project)
    try:
        url, model = worker.wait_ready()
        yield (
            worker,
            {
                **os.environ,
                **CLIENT_SETTINGS,
                "CLIENTS_ENDPOINT": url,
                "CLIENTS_MODEL": model,
                "CLIENTS_TOKENIZER": str(tokenizer),
                "RUNPOD_ENDPOINT_BASE_URL": url.rpartition("/")[0],
            },
        )
    finally:
        worker.stop()


def test(project: Project, chosen: list[str]) -> int:
    """Run the tests of all clients or of the named ones; return the exit status."""
    install(project)
    clients = [c for c in list_clients(project.root) if not chosen or c.package in chosen]
    status = 0
    with serve(project) as (worker, environ):
        for group in CLIENT_GROUPS:
            modules = [client.module for client in clients if client.group == group]
            if modules:
                status = run_group(project, group, modules, environ) or status
    if status != 0:
        print("worker dev:\n" + "".join(worker.lines[-LAST_LINES:]), file=sys.stderr)
    return status


def run_group(project: Project, group: str, modules: list[Path], environ: dict[str, str]) -> int:
    """Run test modules in the environment of their group; return pytest's exit status."""
    print(f"{group}: {', '.join(module.stem for module in modules)}", flush=True)
    folder = project.root / "tests" / "clients"
    command = [find_environment(project, group) / "bin" / "python", "-m", "pytest", "--durations=5"]
    command += ["-c", folder / "pytest.ini", "--rootdir", folder, "--confcutdir", folder]
    return subprocess.run([*command, *modules], cwd=folder, env=environ, check=False).returncode


def main(arguments: list[str], project: Project) -> int:
    """Run one command and return the exit status."""
    # As an exception, SIGTERM ends the worker, too.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        match arguments:
            case ["install"]:
                install(project)
                return 0
            case ["test", *chosen]:
                return test(project, chosen)
    except InstallError as error:
        print(f"make test-clients: {error}", file=sys.stderr)
        return 1
    print("usage: clients.py install | test [PACKAGE ...]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Project(Path(__file__).resolve().parent.parent)))
