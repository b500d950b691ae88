"""Starts the systems to compare: the engine alone, the worker, and worker-vllm."""

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
from benchmarks.sampler import ROOT, SITE
from benchmarks.systems import Deployed, EndedError, EngineAlone, Program, System
from benchmarks.targets import WORKER, WORKER_VLLM
from benchmarks.worker_vllm import build_worker_vllm, cpu_version
from worker.machine import detect_machine


@dataclass(frozen=True, slots=True)
class SystemOptions:
    """The systems to compare.

    Attributes:
        worker_vllm: Checkout of worker-vllm; None leaves it out.
        profile: Folder for a CPU profile of the worker; None without a profile.
        alone: True leaves out all systems except the worker.
        space: Limits of each engine.
    """

    worker_vllm: Path | None = None
    profile: Path | None = None
    alone: bool = False
    space: Space = LOAD


def runs_on_gpu() -> bool:
    """Return whether vLLM computes on a GPU here: there is one, and vLLM is not built for CPU."""
    return detect_machine(os.environ).has_gpu and cpu_version() is None


@asynccontextmanager
async def start_systems(
    options: SystemOptions, report: Callable[[str], None]
) -> AsyncIterator[list[System]]:
    """Start every system and end all of them on leaving.

    On a GPU, all systems after the first start together and use its compile cache. On a CPU they
    start one by one, because they share the cores. worker-vllm is skipped if it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        systems = list(build_systems(Path(name), options))
        first, *others = systems
        groups = [[first], others] if runs_on_gpu() else [[system] for system in systems]
        running: list[System] = []
        try:
            for group in groups:
                starts = (start(system, report) for system in group)
                found = await asyncio.gather(*starts, return_exceptions=True)
                if failure := next((one for one in found if isinstance(one, BaseException)), None):
                    raise failure
                running += [system for system, runs in zip(group, found, strict=True) if runs]
            yield running
        finally:
            for system in systems:
                await system.stop()


async def start(system: System, report: Callable[[str], None]) -> bool:
    """Start one system; return whether it runs.

    Raises:
        EndedError: The system ended, and it is not worker-vllm.
    """
    began_s = time.monotonic()
    try:
        await system.start()
    except EndedError as error:
        if system.name != WORKER_VLLM:
            raise
        report(f"without worker-vllm: {error}")
        return False
    report(f"{system.name} is ready after {time.monotonic() - began_s:.1f} s")
    return True


def build_systems(directory: Path, options: SystemOptions) -> Iterator[System]:
    """Yield the systems without starting them.

    Args:
        directory: Folder for the model and the systems' logs.
        options: The systems to compare.
    """
    gpu = runs_on_gpu()
    model = build_model(directory / "model", gpu=gpu, max_model_len=options.space.model_len)
    environ = make_environ(os.environ, model, options.space, gpu=gpu)
    if not options.alone:
        yield EngineAlone(environ, directory / "engine.log")
    command = (sys.executable, "-m", "worker", "start")
    found = environ if options.profile is None else make_sampled(environ, options.profile)
    yield Deployed(Program(WORKER, command, found), directory / "worker.log")
    if options.worker_vllm is not None:
        (shim := directory / "shim").mkdir()
        yield Deployed(
            build_worker_vllm(options.worker_vllm, environ, shim), directory / "worker-vllm.log"
        )


def make_sampled(environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return an environment in which every Python process runs the sampler on a signal.

    Args:
        environ: The environment to extend.
        folder: Folder for the samples.
    """
    (folder / "sitecustomize.py").write_text(SITE.format(root=str(ROOT), folder=str(folder)))
    return {**environ, "PYTHONPATH": f"{folder}:{environ.get('PYTHONPATH', '')}".rstrip(":")}


def find_worker(systems: list[System]) -> Deployed:
    """Return the worker among the systems."""
    return next(s for s in systems if isinstance(s, Deployed) and s.name == WORKER)
