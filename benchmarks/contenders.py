"""The systems that are compared: the engine alone, the worker, RunPod's worker."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environment import LOAD, Space, make_environ
from benchmarks.model import build_model
from benchmarks.peer import cpu_version, make_peer
from benchmarks.sampler import ROOT, SITE
from benchmarks.systems import Deployed, EndedError, EngineAlone, Program, System
from benchmarks.targets import PEER, WORKER
from worker.machine import detect_machine


@dataclass(frozen=True, slots=True)
class Choice:
    """Which systems take part, and how.

    Attributes:
        peer: Checkout of worker-vllm, if it takes part.
        profile: Folder for a profile of the worker, if one is wanted.
        alone: Only the worker takes part.
        space: What each engine has room for.
    """

    peer: Path | None = None
    profile: Path | None = None
    alone: bool = False
    space: Space = LOAD


def runs_on_gpu() -> bool:
    """Return whether vLLM computes on a GPU here: there is one, and vLLM is not built for CPU."""
    return detect_machine(os.environ).has_gpu and cpu_version() is None


@asynccontextmanager
async def start_systems(choice: Choice, say: Callable[[str], None]) -> AsyncIterator[list[System]]:
    """Start every system and end all of them on leaving.

    On a GPU those behind the first start together, with what the first has compiled; elsewhere they
    would take the cores from each other. The peer is left out if it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        systems = list(build_systems(Path(name), choice))
        first, *others = systems
        groups = [[first], others] if runs_on_gpu() else [[system] for system in systems]
        running: list[System] = []
        try:
            for group in groups:
                starts = (start(system, say) for system in group)
                found = await asyncio.gather(*starts, return_exceptions=True)
                if failure := next((one for one in found if isinstance(one, BaseException)), None):
                    raise failure
                running += [system for system, runs in zip(group, found, strict=True) if runs]
            yield running
        finally:
            for system in systems:
                await system.stop()


async def start(system: System, say: Callable[[str], None]) -> bool:
    """Start one system; return whether it runs.

    Raises:
        EndedError: It ended, and it is not the peer.
    """
    began_s = time.monotonic()
    try:
        await system.start()
    except EndedError as error:
        if system.name != PEER:
            raise
        say(f"without the peer: {error}")
        return False
    say(f"{system.name} is ready after {time.monotonic() - began_s:.1f} s")
    return True


def build_systems(directory: Path, choice: Choice) -> Iterator[System]:
    """Yield the systems, not started.

    Args:
        directory: For the model and for what the systems print.
        choice: Which ones.
    """
    gpu = runs_on_gpu()
    model = build_model(directory / "model", gpu=gpu, max_model_len=choice.space.model_len)
    environ = make_environ(os.environ, model, choice.space, gpu=gpu)
    if not choice.alone:
        yield EngineAlone(environ, directory / "engine.log")
    command = (sys.executable, "-m", "worker", "start")
    found = environ if choice.profile is None else make_sampled(environ, choice.profile)
    yield Deployed(Program(WORKER, command, found), directory / "worker.log")
    if choice.peer is not None:
        (shim := directory / "shim").mkdir()
        yield Deployed(make_peer(choice.peer, environ, shim), directory / "peer.log")


def make_sampled(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment in which every Python process samples itself when it is told to.

    Args:
        environ: The environment otherwise.
        folder: For what the processes write.
    """
    (folder / "sitecustomize.py").write_text(SITE.format(root=str(ROOT), folder=str(folder)))
    return {**environ, "PYTHONPATH": f"{folder}:{environ.get('PYTHONPATH', '')}".rstrip(":")}


def find_worker(systems: list[System]) -> Deployed:
    """Return the worker among the systems."""
    return next(s for s in systems if isinstance(s, Deployed) and s.name == WORKER)
