"""The engine's process, started before the worker has read its configuration.

The first second of the engine's imports, PyTorch's, depends on no setting. The process spends it
while the worker imports its own modules, reads the settings and checks the machine. Then it
receives its environment and its arguments, and runs the module that it would have been started
with. Without them it ends.

Run as `python -m worker.engine.early MODULE PARENT_PID REPORT_FD [last arguments]`. A start waits
for everything that this module imports.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence

from worker.engine.environment import find_package, with_first_variables
from worker.engine.parent_death import die_with_parent
from worker.engine.run_folder import RunFolder

CHILD = "worker.engine.child"
"""The module that becomes the engine."""

TITLE, TORCH = "setproctitle", "torch"
"""What the process imports. setproctitle must find its place before the environment changes."""

LATE_PREFIXES = ("VLLM_", "WORKER_", "HF_", "FLASHINFER_", "TRITON_CACHE_", "TORCHINDUCTOR_CACHE_")
"""Variables that neither of them reads at its import …"""
LATE_VARIABLES = frozenset({"TMPDIR"})
"""… and another. What has other names must not change any more."""


class EarlyProcess:
    """A process that imports PyTorch and waits for its work.

    Args:
        environ: The worker's environment.
        module: The module that the process runs then.

    Attributes:
        folder: The folder of the engine's socket, which is in the arguments already.
        pid: Process id; also the id of its process group.
        reports: Descriptor for reading the module's reports.
        output: Descriptor for reading what the process prints.
    """

    def __init__(self, environ: Mapping[str, str], module: str = CHILD) -> None:
        self.folder = RunFolder()
        self._environment = with_first_variables(environ)
        self.reports, report_end = os.pipe()
        self.output, output_end = os.pipe()
        work, work_end = os.pipe()
        self._work = os.fdopen(work_end, "wb")
        command = [sys.executable, "-m", "worker.engine.early", module, str(os.getpid())]
        try:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [*command, str(report_end), *self.folder.arguments],
                stdin=work,
                stdout=output_end,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=[report_end],
                start_new_session=True,
            )
        finally:
            for descriptor in (work, report_end, output_end):
                os.close(descriptor)
        self.pid = self._process.pid
        self._is_handed_over = False

    def accepts(self, environment: Mapping[str, str]) -> bool:
        """Return whether the process can still get this environment."""
        names = self._environment.keys() | environment.keys()
        changed = {n for n in names if self._environment.get(n) != environment.get(n)}
        return all(name.startswith(LATE_PREFIXES) for name in changed - LATE_VARIABLES)

    def hand_over(self, environment: Mapping[str, str], arguments: Sequence[str]) -> None:
        """Let the process run its module; may wait until the process has imported PyTorch.

        Args:
            environment: The whole environment; `accepts` is true for it.
            arguments: The arguments before those of the folder.
        """
        self._is_handed_over = True
        work = {"environment": dict(environment), "arguments": list(arguments)}
        # If it has ended, its exit status tells.
        with contextlib.suppress(BrokenPipeError), self._work as pipe:
            pipe.write(json.dumps(work).encode())

    async def wait(self) -> int:
        """Wait until the process has ended; return its status, negative for a signal."""
        import asyncio  # A start has no time for it before.

        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        descriptor = os.pidfd_open(self.pid)
        loop.add_reader(descriptor, ended.set_result, None)
        try:
            await ended
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        return self._process.wait()

    def close(self) -> None:
        """End the process unless it has work; safe to call twice."""
        if self._is_handed_over:
            return
        self._is_handed_over = True
        self._work.close()
        self._process.kill()
        self._process.wait()
        os.close(self.reports)
        os.close(self.output)


def start_early(environ: Mapping[str, str]) -> EarlyProcess | None:
    """Start the process where Linux can tell its end and the packages are installed; else None.

    Args:
        environ: The worker's environment.
    """
    if not hasattr(os, "pidfd_open") or not all(map(find_package, ("torch", "vllm"))):
        return None
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # An old kernel, or a sandbox.
        return None
    return EarlyProcess(environ)


def change_environment(environment: Mapping[str, str]) -> None:
    """Make this the environment of this process.

    Only what differs is set: setproctitle writes where the kernel has put the first environment.
    """
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(
        {name: value for name, value in environment.items() if os.environ.get(name) != value}
    )


def main() -> None:
    """Import PyTorch, wait for the work and run the module."""
    _program, module, parent_pid, report, *last = sys.argv
    die_with_parent(int(parent_pid))
    gc.disable()  # Nothing that is imported is ever collected.
    with contextlib.suppress(Exception):
        importlib.import_module(TITLE).getproctitle()
    with contextlib.suppress(Exception):  # The engine imports it again and reports the reason.
        importlib.import_module(TORCH)
    given = sys.stdin.buffer.read()
    if not given:
        return
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, sys.stdin.fileno())
    os.close(null)
    work = json.loads(given)
    change_environment(work["environment"])
    tempfile.tempdir = None
    sys.argv = [module, parent_pid, report, *work["arguments"], *last]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
