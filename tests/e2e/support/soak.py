"""Mixed load with random faults: `python -m tests.e2e.support.soak --minutes 30`.

A real worker with the tiny model under the local endpoint. Jobs of every kind come without pause;
the platform fails for a moment every second or two; now and then a process is killed, frozen or
to stop, and the next worker takes over. In the end every job must have reached exactly one final
state, and every answer must be complete.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.support.deployment import TEXT, make_environ
from tests.e2e.support.process_tree import descendants, find_process
from tests.e2e.support.soak_answers import find_problem, find_stream_problem
from tests.e2e.support.tiny_model import build_tiny_model
from worker_tools.dev import Fault, Limits, LocalEndpoint
from worker_tools.dev.deployment import DEFAULTS, exit_status
from worker_tools.dev.faults import WorkerCall
from worker_tools.dev.job import Job, JobRequest, JobStatus
from worker_tools.dev.process import WorkerProcess

COMMAND = (sys.executable, "-m", "worker", "start")
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
OUTSTANDING = 24
"""Jobs that are submitted and have not ended."""

SETTLE_S = 15.0
"""After its start a worker's memory still grows: caches and pools fill."""

WEIGH_S = 10.0
"""Between two readings of a worker's memory."""

TELL_S = 30.0
"""Between two lines of progress."""

LIMITS = Limits(
    take_hold_s=2,
    stop_hold_s=2,
    lost_job_retries=10,
    run_retention_s=7200,
    runsync_retention_s=7200,
)

KINDS: dict[str, dict[str, Any]] = {
    "whole": {"prompt": "Once", "sampling_params": {"max_tokens": 40, "ignore_eos": True}},
    "exact": {
        "prompt": "Once",
        "stream": True,
        "structured_outputs": {"choice": [TEXT]},
        "sampling_params": {"max_tokens": 200},
    },
    "chat": {
        "openai_route": "/v1/chat/completions",
        "openai_input": {
            "messages": [{"role": "user", "content": "Hello"}],
            "stream": True,
            "max_tokens": 60,
        },
    },
    "long": {
        "prompt": "On",
        "stream": True,
        "sampling_params": {"n": 4, "max_tokens": 600, "ignore_eos": True},
    },
    "bad": {"prompt": "Once", "sampling_params": {"temprature": 1}},
    "cancelled": {
        "prompt": "On",
        "stream": True,
        "sampling_params": {"n": 4, "max_tokens": 1500, "ignore_eos": True},
    },
}


def make_fault(chance: random.Random, unsure: set[str]) -> Fault:
    """Return one fault of the platform.

    Args:
        chance: Decides which.
        unsure: Gets the jobs of which a chunk was taken and the reply lost. The worker has to send
            it again, and the platform cannot tell that it has it.
    """

    def note(call: WorkerCall) -> bool:
        unsure.add(str(call.job_id))
        return True

    return chance.choice(
        [
            Fault("take", status=500),
            Fault("take", status=429),
            Fault("take", body=b"garbage"),
            Fault("take", drop=True),
            Fault("take", delay_s=1.5),
            Fault("stream", status=500),
            Fault("stream", calls=3, status=503),
            Fault("stream", drop=True),
            Fault("stream", drop=True, processed=True, when=note),
            Fault("stream", delay_s=1.0),
            Fault("done", status=500),
            Fault("done", drop=True, processed=True),
            Fault("stop", status=500),
            Fault("ping", status=500),
        ]
    )


@dataclass
class Figures:
    """What a soak has seen."""

    seconds: float = 0
    jobs: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    """How often each job reached a final state, by its id."""
    faults: Counter[str] = field(default_factory=Counter)
    exits: list[int] = field(default_factory=list)
    memory_kib: list[list[int]] = field(default_factory=list)
    """Resident memory of each worker that lived long enough, one reading every `WEIGH_S`."""
    wrong: list[str] = field(default_factory=list)
    """Jobs whose answer is not what it has to be."""
    chunks: int = 0
    """Streamed chunks that were compared with the result of their job."""
    unsure: set[str] = field(default_factory=set)
    """Jobs that may have a chunk twice, see `make_fault`."""

    @property
    def lost(self) -> int:
        """Jobs without a final state."""
        return self.jobs - len(self.ends)

    @property
    def repeated(self) -> int:
        """Jobs with more than one."""
        return sum(count > 1 for count in self.ends.values())

    def report(self) -> str:
        """Return everything as JSON."""
        return json.dumps(
            {
                "seconds": round(self.seconds),
                "jobs": self.jobs,
                "kinds": dict(self.kinds),
                "states": dict(self.states),
                "lost": self.lost,
                "duplicated": self.repeated,
                "wrong": self.wrong,
                "chunks": self.chunks,
                "jobs_with_a_lost_stream_reply": len(self.unsure),
                "faults": dict(self.faults),
                "worker_exits": self.exits,
                "memory_kib": {f"every {WEIGH_S:.0f} s": self.memory_kib},
            },
            indent=2,
        )


class Soak:
    """One run.

    Args:
        environ: The workers' environment.
        seed: Decides everything that is random.
        violence_s: Mean seconds between two acts against the worker's processes.
    """

    def __init__(self, environ: dict[str, str], seed: int, violence_s: float) -> None:
        self.figures = Figures()
        self.endpoint = LocalEndpoint(limits=LIMITS)
        self._environ = environ
        self._chance = random.Random(seed)
        self._violence_s = violence_s
        self._worker: WorkerProcess | None = None
        self._stopping = False
        self.endpoint.store.on_finish = self._count

    def _count(self, job: Job) -> None:
        self.figures.ends[job.id] += 1
        self.figures.states[job.status.value] += 1

    async def run(self, seconds: float) -> Figures:
        """Run for some seconds, then let every job end."""
        clock = asyncio.get_running_loop().time
        began = clock()
        await self.endpoint.start()
        workers = asyncio.create_task(self._keep_a_worker())
        await self.endpoint.store.workers.get("worker-1").ready.wait()
        disturbers = (self._stumble(), self._attack(), self._tell(began, seconds))
        disturb = [asyncio.create_task(work) for work in disturbers]
        places = [asyncio.create_task(self._submit(began + seconds)) for _ in range(OUTSTANDING)]
        try:
            await asyncio.sleep(max(0.0, began + seconds - clock()))
            for task in disturb:
                task.cancel()
            self.endpoint.faults.clear()
            await asyncio.wait(places, timeout=120)
        finally:
            self._stopping = True
            for task in (*disturb, *places):
                task.cancel()
            if self._worker is not None:
                self._worker.terminate()
            self.endpoint.store.drain()
            await asyncio.wait({workers}, timeout=60)
            workers.cancel()
            await self.endpoint.stop()
        self.figures.seconds = clock() - began
        return self.figures

    async def _tell(self, began: float, seconds: float) -> None:
        """Show progress, where nobody takes it for the report."""
        while True:
            await asyncio.sleep(TELL_S)
            passed_s = asyncio.get_running_loop().time() - began
            print(
                f"{passed_s:.0f} of {seconds:.0f} s: {self.figures.jobs} jobs, "
                f"{sum(self.figures.faults.values())} faults, {len(self.figures.exits)} workers "
                f"ended, wrong: {len(self.figures.wrong)}",
                file=sys.stderr,
                flush=True,
            )

    async def _submit(self, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            kind = self._chance.choice(list(KINDS))
            request = JobRequest(
                KINDS[kind],
                sync=False,
                execution_timeout_ms=600_000,
                ttl_ms=7_200_000,
                retention_s=7200,
            )
            job = self.endpoint.store.submit(request)
            self.figures.jobs += 1
            self.figures.kinds[kind] += 1
            if kind == "cancelled":
                await asyncio.sleep(self._chance.uniform(0, 1.5))
                self.endpoint.store.cancel(job)
            await job.finished(300)
            if job.status is JobStatus.COMPLETED:
                self.figures.chunks += len(job.chunks)
            problem = find_problem(kind, job) or find_stream_problem(
                job, unsure=job.id in self.figures.unsure
            )
            if problem:
                self.figures.wrong.append(f"{kind} {job.status.value}: {problem}")

    async def _stumble(self) -> None:
        while True:
            await asyncio.sleep(self._chance.expovariate(1.0))
            fault = make_fault(self._chance, self.figures.unsure)
            how = fault.status or ("garbage" if fault.body else "drop" if fault.drop else "slow")
            how = "lost reply" if fault.processed else how
            self.figures.faults[f"{fault.operation} {how}"] += 1
            self.endpoint.faults.add(fault)

    async def _attack(self) -> None:
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / self._violence_s))
            worker = self._worker
            ready = worker and self.endpoint.store.workers.get(worker.worker_id).ready
            if worker is None or worker.returncode is not None or not ready or not ready.is_set():
                continue
            act = self._chance.choice(["engine", "server", "worker", "SIGTERM", "freeze"])
            self.figures.faults[act] += 1
            tree = descendants(worker.pid)
            with suppress(LookupError, ProcessLookupError):
                if act == "freeze":
                    await freeze({worker.pid, *tree}, 4)
                elif act == "SIGTERM":
                    worker.terminate()
                elif act == "worker":
                    os.kill(worker.pid, signal.SIGKILL)
                else:
                    word = "VLLM::EngineCore" if act == "engine" else "worker.engine.child"
                    os.kill(find_process(tree, word), signal.SIGKILL)

    async def _keep_a_worker(self) -> None:
        number = 0
        while not self._stopping:
            number += 1
            worker = WorkerProcess(f"worker-{number}", on_output=lambda _worker, _line: None)
            platform = self.endpoint.worker_environment(worker.worker_id)
            await worker.start(COMMAND, {**DEFAULTS, **self._environ, **platform})
            self._worker = worker
            weigh = asyncio.create_task(self._weigh(worker))
            try:
                self.figures.exits.append(exit_status(await worker.wait()))
            finally:
                weigh.cancel()
                worker.kill()
            self.endpoint.store.lose_worker(worker.worker_id)

    async def _weigh(self, worker: WorkerProcess) -> None:
        await self.endpoint.store.workers.get(worker.worker_id).ready.wait()
        await asyncio.sleep(SETTLE_S)
        readings = [read_memory_kib(worker.pid)]
        self.figures.memory_kib.append(readings)
        while True:
            await asyncio.sleep(WEIGH_S)
            with suppress(OSError):
                readings.append(read_memory_kib(worker.pid))


async def freeze(pids: set[int], seconds: float) -> None:
    """Stop processes for some seconds."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def read_memory_kib(pid: int) -> int:
    """Return a process's resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KIB


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--violence-s", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = build_tiny_model(Path(folder, "tiny-llama"))
        environ = make_environ(model, DRAIN_TIMEOUT_S="5")
        soak = Soak(environ, options.seed, options.violence_s)
        figures = asyncio.run(soak.run(options.minutes * 60))
    print(figures.report())
    sys.exit(0 if not (figures.lost or figures.repeated or figures.wrong) else 1)


if __name__ == "__main__":
    main()
