"""`worker tune`: measures growing loads, and derives the settings from them."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from pydantic import BaseModel, ValidationError
from rich.console import Console

from worker.console import open_console, print_json
from worker.errors import ExitCode, WorkerError
from worker.settings import load_settings
from worker_tools.batch.command import INTERRUPTED, UsageError, check_results_file
from worker_tools.batch.state import replace_file
from worker_tools.demo.model import choose_model
from worker_tools.tune.choice import MIN_GAIN, Targets, next_concurrency, sort_valid
from worker_tools.tune.load import LoadError, Workload
from worker_tools.tune.local import LocalWorker
from worker_tools.tune.measurement import Load, Measurement
from worker_tools.tune.options import TuneOptions
from worker_tools.tune.outcome import guard, show_progress
from worker_tools.tune.report import Report, describe_point, print_report, report_data, write_page
from worker_tools.tune.session import Inputs, Session, check_inputs, find_rent, open_session
from worker_tools.tune.target import Target, find_target

FEWEST = 8
"""Requests of a measurement at least; percentiles of fewer mean nothing."""

MOST_WAVES = 16
"""Requests of a measurement at most, for each of those at once."""


class Saved(BaseModel):
    """The file of the measurements.

    Attributes:
        key: Stands for endpoint, model and workload.
        about: The same for the reader.
        points: What was measured.
    """

    key: str
    about: str
    points: list[Measurement] = []


@dataclass(slots=True)
class Sweep:
    """Loads that are measured one after the other.

    Attributes:
        options: The command line.
        targets: Latency to keep.
        loads: Concurrencies or rates to measure; empty to find them.
        points: What was measured.
        warnings: What the reader of the figures has to know.
    """

    options: TuneOptions
    targets: Targets
    loads: Sequence[Load]
    points: list[Measurement] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def next_load(self, one_ms: float) -> Load | None:
        """Return the next load, None after the last.

        Args:
            one_ms: Duration of a single request, milliseconds.
        """
        if self.loads:
            done = {(p.load.concurrency, p.load.rate) for p in self.points}
            missing = (one for one in self.loads if (one.concurrency, one.rate) not in done)
            load = next(missing, None)
            if load is None or load.rate is not None:
                return load
            concurrency = load.concurrency or 1
        else:
            found = next_concurrency(self.points, self.options.most, self.targets)
            if found is None:
                return None
            concurrency = found
        count = count_requests(concurrency, self.points, one_ms, self.options.seconds)
        return Load(requests=count, concurrency=concurrency)

    async def run(self, session: Session, save: Callable[[], None], notes: Console) -> None:
        """Measure what is missing.

        Raises:
            LoadError: No request of the first load was answered.
        """
        one_ms = session.warm_up.measurement.total_ms.p50
        while (load := self.next_load(one_ms)) is not None:
            with show_progress(notes, str(load), load.requests) as progress:
                found = (await session.generator.run(load, progress)).measurement
            if not found.completed and not any(p.is_valid for p in self.points):
                raise LoadError(describe_failure(found))
            self.points.append(found)
            save()
            notes.print(describe_point(found), markup=False, soft_wrap=True)
        self.warnings += list(self._warn(session))

    def _still_grows(self) -> bool:
        """Whether the largest load that may be tried has clearly the most throughput."""
        valid = sort_valid(self.points)
        if not valid or valid[-1].at_once < self.options.most:
            return False
        best = max((p.output_per_s for p in valid[:-1]), default=0.0)
        return valid[-1].output_per_s > best * (1 + MIN_GAIN)

    def _warn(self, session: Session) -> Sequence[str]:
        found = []
        if session.watch.most_ready > 1:
            found.append(
                f"{session.watch.most_ready} workers answered, and the settings are for one: set "
                "the endpoint's max workers to 1 and measure --again"
            )
        if not self.loads and self._still_grows():
            found.append(
                f"throughput may grow above {self.options.most} requests at once; see --most"
            )
        if session.repeats:
            found.append(
                "the file has fewer requests than were sent; repeated ones are answered from the "
                "prefix cache, which makes the figures too good"
            )
        return found


def count_requests(
    concurrency: int, points: Sequence[Measurement], one_ms: float, seconds: float
) -> int:
    """Return how many requests take about `seconds`, at least two for each of those at once."""
    smaller = [p for p in points if p.is_valid and p.at_once <= concurrency]
    rate = max((p.requests_per_s for p in smaller), default=1000 / max(one_ms, 1))
    wanted = min(math.ceil(rate * seconds), MOST_WAVES * concurrency)
    return max(FEWEST, 2 * concurrency, wanted)


def run_tune(
    environ: Mapping[str, str], options: TuneOptions, *, console: Console | None = None
) -> int:
    """Measure, print the choices and write the page.

    Args:
        environ: The user's environment, with the key and, without a URL, the settings.
        options: The command line.
        console: Where to print; None is stderr for the progress and stdout for the choices.

    Returns:
        Exit status: 1 if no load keeps the targets, 2 if the command line is wrong, 5 if the
        endpoint cannot be reached, 130 after Ctrl-C.
    """
    out = console or open_console()
    notes = console or open_console(stderr=True)
    return guard("tune", environ, notes, lambda: _run(environ, options, out, notes))


def _run(environ: Mapping[str, str], options: TuneOptions, out: Console, notes: Console) -> int:
    inputs = check_inputs(options)
    check_results_file(
        "--output", options.output, {"its file of measurements": saved_path(options)}
    )
    targets = Targets(options.max_first_token, options.max_time_per_token)
    sweep = Sweep(options, targets, read_loads(options))
    about = Report(targets=targets, page=options.output, points=sweep.points)
    status: int = ExitCode.OK
    try:
        asyncio.run(_measure(environ, inputs, sweep, about, notes))
    except KeyboardInterrupt:
        status = INTERRUPTED
        notes.print("\nInterrupted. The same command resumes with what is missing.")
    except WorkerError as error:
        if not sweep.points:
            raise
        status = error.exit_code
        notes.print(f"worker tune: {error}", markup=False, soft_wrap=True)
    if not about.choices:
        return status or ExitCode.FAILURE
    about.warnings = sweep.warnings
    write_page(about)
    if options.as_json:
        print_json(out, report_data(about))
    else:
        print_report(out, about)
    missed = bool(targets) and about.choices[0].name != "target"
    return status or (ExitCode.FAILURE if missed else ExitCode.OK)


async def _measure(
    environ: Mapping[str, str], inputs: Inputs, sweep: Sweep, about: Report, notes: Console
) -> None:
    options = sweep.options
    async with find_endpoint(environ, sweep, notes) as (target, name):
        about.rent = find_rent(environ, target, inputs.pool, options.gpus)
        async with open_session(environ, target, options, inputs, notes) as session:
            about.model, about.workload = session.workload.model, str(session.workload)
            about.endpoint = target.base_url if options.url else "a worker on this machine"
            saved = load_saved(options, make_key(name, session.workload, inputs), str(about))
            sweep.points += saved.points
            for point in saved.points:
                notes.print(f"{describe_point(point)} (measured before)", markup=False)
            saved.points = sweep.points
            await sweep.run(session, lambda: save(options, saved), notes)


@asynccontextmanager
async def find_endpoint(
    environ: Mapping[str, str], sweep: Sweep, notes: Console
) -> AsyncIterator[tuple[Target, str]]:
    """Yield the endpoint and a name under which its measurements are kept.

    Without a URL it starts a worker, with limits for the largest load.
    """
    url = sweep.options.url
    if url is not None:
        target = find_target(environ, url)
        yield target, target.base_url
        return
    environ = choose_model(environ)
    most = max((one.concurrency or 0 for one in sweep.loads), default=0) or sweep.options.most
    arguments = load_settings(environ).engine_arguments()
    notes.print("Starting a worker on this machine; the model is being loaded")

    def note(line: str) -> None:
        notes.print(line, markup=False, soft_wrap=True)

    async with LocalWorker(environ, most, note) as worker:
        yield worker.target, "\0".join(arguments)


def read_loads(options: TuneOptions) -> list[Load]:
    """Return the loads that the command line names; empty if it names none.

    Raises:
        UsageError: They are not numbers above zero, or both kinds are given.
    """
    if options.concurrency and options.rates:
        raise UsageError("--concurrency and --rates exclude each other")
    try:
        counts = [int(part) for part in (options.concurrency or "").split(",") if part.strip()]
        rates = [float(part) for part in (options.rates or "").split(",") if part.strip()]
    except ValueError:
        raise UsageError("--concurrency and --rates take numbers, e.g. 1,8,32") from None
    if any(not 0 < number < math.inf for number in (*counts, *rates)):
        raise UsageError("--concurrency and --rates take numbers above zero")
    if counts:
        return [Load(requests=1, concurrency=count) for count in sorted(set(counts))]
    return [
        Load(requests=max(FEWEST, math.ceil(rate * options.seconds)), rate=rate)
        for rate in sorted(set(rates))
    ]


def describe_failure(found: Measurement) -> str:
    """Return why no request was answered, with the next step."""
    reasons = "; ".join(f"{count} x {reason}" for reason, count in found.errors.items())
    return (
        f"none of {found.failed} requests was answered: {reasons}; send one of them by hand, or "
        "read the log of the worker"
    )


def make_key(name: str, workload: Workload, inputs: Inputs) -> str:
    """Return what stands for endpoint, model and workload."""
    own = None if inputs.requests is None else inputs.requests.sha256
    lengths = None if own else (workload.prompt_tokens, workload.answer_tokens)
    parts = (name, workload.model, workload.route, lengths, own)
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def saved_path(options: TuneOptions) -> Path:
    """Return the file of the measurements."""
    return options.output.with_suffix(".json")


def load_saved(options: TuneOptions, key: str, about: str) -> Saved:
    """Return the earlier measurements of the same endpoint, model and workload.

    Measurements with failures are left out, and so measured again.

    Raises:
        UsageError: The file has those of another one, or is not such a file.
    """
    path = saved_path(options)
    fresh = Saved(key=key, about=about)
    if options.again or not path.exists():
        return fresh
    try:
        saved = Saved.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UsageError(
            f"{path} has no measurements of this command; name another --output"
        ) from None
    if saved.key != key:
        raise UsageError(
            f"{path} has the measurements of {saved.about}; name another --output, or discard them "
            "by --again"
        )
    return saved.model_copy(update={"points": [p for p in saved.points if p.is_valid]})


def save(options: TuneOptions, saved: Saved) -> None:
    """Write the measurements; a crash leaves either the old file or the new one."""
    with replace_file(saved_path(options)) as file:
        file.write(saved.model_dump_json(indent=1).encode())
