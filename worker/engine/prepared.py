"""A process that imports vLLM's engine while this one imports its API server.

vLLM starts its engine process after it has imported everything and built its configuration, and the
engine then imports more modules. This module forks that process before, and hands over what vLLM
would have given it at its start.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import multiprocessing
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable, Mapping
from multiprocessing import context, popen_fork, process, reduction, util
from typing import Any

from worker.engine.early import change_environment

LENGTH = struct.Struct("!Q")
"""Prefix of the message that has the work."""


class PreparedProcess:
    """A forked process that runs `prepare`, then waits for its work.

    If this process ends without handing over work, so does the prepared one.

    Args:
        prepare: Imports modules. An exception is ignored: the work imports them again and fails
            with the same one.
        name: The name of `multiprocessing`'s process that may take its place.
        prepare_here: Called in this process before it forks another one after all.

    Attributes:
        pid: Its process id; 0 once it has its work or is closed.
    """

    def __init__(
        self,
        prepare: Callable[[], None],
        name: str,
        prepare_here: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._prepare_here = functools.cache(prepare_here)
        work, self._work_end = os.pipe()
        parent_sentinel, self._parent_end = os.pipe()
        self._sentinel, alive_end = os.pipe()
        self._owner = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            for descriptor in (self._work_end, self._parent_end, self._sentinel):
                os.close(descriptor)
            _run(prepare, work, parent_sentinel)
        for descriptor in (work, parent_sentinel, alive_end):
            os.close(descriptor)

    def extend(self, get_context: Callable[[], Any]) -> Callable[[], Any]:
        """Wrap a function that returns a context of `multiprocessing`.

        The first process of the name that is forked with it is the prepared one.
        """

        def get_extended_context() -> Any:
            chosen = get_context()
            if self._owner != os.getpid():
                return chosen
            if chosen.get_start_method() != "fork":
                self.close()
                return chosen
            return _PreparedContext(self._start)

        return get_extended_context

    def _start(self, started: process.BaseProcess) -> Any:
        """Start a process; return what `multiprocessing` calls its popen object."""
        if self.pid and started.name == self._name:
            try:
                return _PreparedPopen(started, self._take(started))
            except (pickle.PicklingError, TypeError, AttributeError, RuntimeError):
                # Locks and queues raise RuntimeError: only a fork at this moment inherits them.
                self.close()
        self._prepare_here()
        return popen_fork.Popen(started)

    def close(self) -> None:
        """End the process if it has no work."""
        if self.pid:
            pid, self.pid = self.pid, 0
            for descriptor in (self._work_end, self._parent_end, self._sentinel):
                os.close(descriptor)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _take(self, started: process.BaseProcess) -> tuple[int, int, tuple[int, ...]]:
        """Hand over the work of `started`; return process id, sentinel and descriptors."""
        torch = sys.modules.get("torch")
        work = {
            "environment": dict(os.environ),
            "authkey": bytes(process.current_process().authkey),
            "threads": None if torch is None else torch.get_num_threads(),
            "name": started.name,
            "daemon": started.daemon,
        }
        function = started._target, started._args, started._kwargs  # type: ignore[attr-defined]
        message = pickle.dumps(work) + reduction.ForkingPickler.dumps(function)
        pid, self.pid = self.pid, 0
        with os.fdopen(self._work_end, "wb") as pipe:
            pipe.write(LENGTH.pack(len(message)) + message)
        return pid, self._sentinel, (self._sentinel, self._parent_end)


class _PreparedPopen(popen_fork.Popen):
    """`multiprocessing`'s handle of a process that exists already."""

    def __init__(
        self, started: process.BaseProcess, taken: tuple[int, int, tuple[int, ...]]
    ) -> None:
        self._taken = taken
        super().__init__(started)

    def _launch(self, process_obj: Any) -> None:
        self.pid, self.sentinel, descriptors = self._taken
        self.finalizer = util.Finalize(self, _close, descriptors)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _PreparedContext(context.ForkContext):
    def __init__(self, start: Callable[[process.BaseProcess], Any]) -> None:
        super().__init__()

        class Process(context.ForkProcess):
            @staticmethod
            def _Popen(process_obj: Any) -> Any:
                return start(process_obj)

        self.Process = Process  # type: ignore[misc]


def _run(prepare: Callable[[], None], work: int, parent_sentinel: int) -> None:
    """Prepare, wait for the work, do it, and end this process."""
    code = 1
    try:
        with contextlib.suppress(Exception):
            prepare()
        # Nothing that was imported is ever collected.
        gc.freeze()
        gc.enable()
        code = 0
        with os.fdopen(work, "rb") as pipe:
            length = pipe.read(LENGTH.size)
            if len(length) == LENGTH.size:
                code = _work(pipe, parent_sentinel)
    finally:
        os._exit(code)


def _work(pipe: Any, parent_sentinel: int) -> int:
    given: Mapping[str, Any] = pickle.load(pipe)  # noqa: S301  from our own parent
    change_environment(given["environment"])
    process.current_process().authkey = given["authkey"]
    torch = sys.modules.get("torch")
    if torch is not None and given["threads"] not in (None, torch.get_num_threads()):
        torch.set_num_threads(given["threads"])
    target, args, kwargs = pickle.load(pipe)  # noqa: S301
    work = multiprocessing.get_context("fork").Process(
        target=target, name=given["name"], args=args, kwargs=kwargs, daemon=given["daemon"]
    )
    work._parent_pid = os.getppid()  # type: ignore[attr-defined]
    return int(work._bootstrap(parent_sentinel=parent_sentinel))  # type: ignore[attr-defined]
