"""A worker that serves from a container, and requests to it from inside its network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.image.buildah import Container, environment

START_S = 300.0
"""How long a start may take on a busy machine."""

NO_NETWORK = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
"""Runs a command with the loopback interface and no other."""

CLIENT = """
import json, sys, urllib.request
url, body = sys.argv[1], sys.argv[2].encode() or None
request = urllib.request.Request(url, body, {"content-type": "application/json"})
try:
    with urllib.request.urlopen(request, timeout=60) as response:
        print(json.dumps([response.status, response.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""


@dataclass
class Served:
    """A worker that was started in a container.

    Attributes:
        process: Buildah's process around it.
        port: Where it listens.
        network: The process id whose network it is in; None for this machine's.
        log: What it printed.
        ready_s: How long the start took.
    """

    process: subprocess.Popen[bytes]
    port: int
    network: int | None
    log: Path
    ready_s: float = 0.0

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, str]:
        """Send a request; return status and body, status 0 if nothing listens."""
        text = json.dumps(body) if body else ""
        url = f"http://127.0.0.1:{self.port}{path}"
        enter = ["nsenter", "--target", str(self.network), "--net"] if self.network else []
        done = subprocess.run(
            [*enter, sys.executable, "-c", CLIENT, url, text], capture_output=True, check=True
        )
        status, answer = json.loads(done.stdout)
        return status, answer

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: With the log's end, when it stopped or takes too long.
        """
        started = time.monotonic()
        while self.ask("/ping")[0] != 200:
            if self.process.poll() is not None or time.monotonic() - started > START_S:
                raise RuntimeError(f"the worker is not ready: {self.log.read_text()[-3000:]}")
            time.sleep(1)
        self.ready_s = time.monotonic() - started

    def find_worker(self) -> psutil.Process:
        """Return the worker's own process, the container's first."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return next(process for process in below if process.name() == "worker")

    def stop(self) -> int:
        """Send SIGTERM as a container runtime does; return the exit status."""
        self.find_worker().send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


@contextmanager
def serve(
    container: Container, entrypoint: list[str], port: int, log: Path, *, network: bool = True
) -> Iterator[Served]:
    """Run the image's entrypoint until it answers; end it at the latest on leaving."""
    command = [*([] if network else NO_NETWORK), *container.command(*entrypoint)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=environment(),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        served = Served(process, port, None if network else process.pid, log)
        served.wait()
        yield served
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
