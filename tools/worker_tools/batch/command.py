"""`worker batch`: sends a file of requests through RunPod's batches and writes the answers."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.console import open_console, print_json
from worker.errors import ExitCode, WorkerError
from worker.profile.pools import PRICES_SOURCE, Pool, find_pool, known_gpus
from worker.redaction import Redactor
from worker.suggest import HINT, did_you_mean, suggest
from worker_tools.batch.api import BatchClient
from worker_tools.batch.input_file import InputFile, InvalidFileError, read_input_file
from worker_tools.batch.options import BatchOptions
from worker_tools.batch.plan import OVERHEAD_BYTES, split_parts
from worker_tools.batch.results import Tally, write_results
from worker_tools.batch.run import BatchRun, Observer
from worker_tools.batch.state import Part, StateFolder
from worker_tools.batch.state import Progress as SavedProgress
from worker_tools.dev.limits import Limits
from worker_tools.runpod_api import KEY_VARIABLE, KEYS_PAGE, LOOPBACK, is_valid_key, read_key

BASE_URL = "https://api.runpod.ai/v2"
BASE_URL_VARIABLE = "RUNPOD_ENDPOINT_BASE_URL"
"""The name that RunPod's own client reads."""

CALL_BYTES: int = Limits().batch_body_bytes
SHOWN_PROBLEMS = 200
PRINT_S = 30.0
"""Time between two lines about the progress where no terminal shows it."""
INTERRUPTED = 130


class UsageError(WorkerError):
    """The command line is wrong."""

    exit_code = ExitCode.CONFIGURATION


@dataclass(frozen=True, slots=True)
class Target:
    """The endpoint, and the key for it."""

    url: str
    key: str | None


def run_batch(
    environ: Mapping[str, str], options: BatchOptions, *, console: Console | None = None
) -> int:
    """Send a file and write its results.

    Args:
        environ: The user's environment, with the key.
        options: The command line.
        console: Where to print; None is stderr for the progress and stdout for the summary.

    Returns:
        Exit status: 1 if requests have failed, 2 if file or command line are wrong, 5 if RunPod
        cannot be reached.
    """
    out = console or open_console()
    notes = console or open_console(stderr=True)
    redact = Redactor([key] if (key := read_key(environ)) else [])
    try:
        return _run(environ, options, out, notes)
    except InvalidFileError as error:
        for problem in error.problems[:SHOWN_PROBLEMS]:
            notes.print(str(problem), markup=False, soft_wrap=True)
        if len(error.problems) > SHOWN_PROBLEMS:
            notes.print(f"and {len(error.problems) - SHOWN_PROBLEMS} more")
        notes.print(f"worker batch: {error}", markup=False, soft_wrap=True)
        return ExitCode.CONFIGURATION
    except WorkerError as error:
        notes.print(f"worker batch: {redact(str(error))}", markup=False, soft_wrap=True)
        return error.exit_code
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        notes.print(f"worker batch: {place}{error.strerror}", markup=False, soft_wrap=True)
        return ExitCode.UNAVAILABLE
    except KeyboardInterrupt:
        notes.print(
            "\nInterrupted. RunPod still processes submitted batches. Run the same command again "
            "to follow them, or add --cancel."
        )
        return INTERRUPTED


def _run(environ: Mapping[str, str], options: BatchOptions, out: Console, notes: Console) -> int:
    pool = find_gpu(options.gpu)
    try:
        source = read_input_file(options.file, CALL_BYTES - OVERHEAD_BYTES)
    except OSError as error:
        raise UsageError(f"{options.file}: {error.strerror}") from None
    if options.check:
        out.print(f"{options.file}: {len(source.lines)} requests, all valid", markup=False)
        return ExitCode.OK
    target = find_target(environ, options.endpoint)
    output = options.output or _next_to(options.file, "output")
    errors = options.errors or _next_to(options.file, "errors")
    check_results_file("--output", output, {"the input file": options.file})
    check_results_file("--errors", errors, {"the input file": options.file, "--output": output})
    folder = StateFolder(options.state or options.file.with_name(f"{options.file.name}.batch"))
    with folder.lock():
        saved = _load(folder, target, source, options)
        asyncio.run(_follow(target, source, saved, folder, options, notes))
        tally = write_results(source, saved, folder, output, errors)
    if options.as_json:
        print_json(out, summary_data(tally, pool, options.gpus, output, errors))
    else:
        for line in describe(tally, pool, options.gpus, output, errors):
            out.print(line, markup=False, soft_wrap=True)
    return ExitCode.FAILURE if tally.failed else ExitCode.OK


def _next_to(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name.removesuffix('.jsonl')}.{kind}.jsonl")


def _load(
    folder: StateFolder, target: Target, source: InputFile, options: BatchOptions
) -> SavedProgress:
    saved = folder.load(target.url, source.sha256)
    if saved is None:
        split = split_parts(len(source.lines), options.requests_per_batch)
        parts = [Part(first=first, count=count) for first, count in split]
        saved = SavedProgress(endpoint=target.url, sha256=source.sha256, parts=parts)
        folder.save(saved)
    return saved


async def _follow(
    target: Target,
    source: InputFile,
    saved: SavedProgress,
    folder: StateFolder,
    options: BatchOptions,
    notes: Console,
) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
    )
    shows_bar = notes.is_terminal
    with Progress(*columns, console=notes, transient=True, disable=not shows_bar) as bar:
        task = bar.add_task(options.file.name, total=len(source.lines), failed=0)

        def note(text: str) -> None:
            bar.console.print(text, markup=False, soft_wrap=True)

        printed_s = time.monotonic()

        def count(ended: int, failed: int) -> None:
            nonlocal printed_s
            bar.update(task, completed=ended, failed=failed)
            if not shows_bar and time.monotonic() - printed_s >= PRINT_S:
                printed_s = time.monotonic()
                note(f"{options.file.name}: {ended} of {len(source.lines)} done, {failed} failed")

        async with BatchClient(target.url, target.key, note=note) as client:
            observer = Observer(count=count, note=note)
            run = BatchRun(client, source, saved, folder, observer, CALL_BYTES)
            await (run.cancel() if options.cancel else run.run())


def find_target(environ: Mapping[str, str], endpoint: str | None) -> Target:
    """Return address and key of an endpoint.

    Raises:
        UsageError: The endpoint or the key is missing or cannot be used.
    """
    if not endpoint:
        raise UsageError("--endpoint is missing: the id of a queue endpoint, or its URL")
    if re.fullmatch(r"[A-Za-z0-9_-]+", endpoint):
        base = environ.get(BASE_URL_VARIABLE, "").strip() or BASE_URL
        endpoint = f"{base.rstrip('/')}/{endpoint}"
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise UsageError("--endpoint: expected an id, or a URL such as https://host/v2/ID")
    local = parts.hostname in LOOPBACK
    if parts.scheme == "http" and not local:
        raise UsageError(f"{parts.hostname} is not encrypted; the key would be sent there")
    key = read_key(environ)
    if key and not is_valid_key(key):
        raise UsageError(f"{KEY_VARIABLE} has characters that a key cannot contain; copy it again")
    if not key and not local:
        raise UsageError(f"{KEY_VARIABLE} is not set; get a key from {KEYS_PAGE}")
    return Target(endpoint.rstrip("/"), None if local else key)


def check_results_file(option: str, path: Path, others: Mapping[str, Path]) -> None:
    """Check before any work that results can be written to a file.

    Args:
        option: What names the file.
        path: The file.
        others: Files that it must not replace, by their names for the user.

    Raises:
        UsageError: It would replace another file, or cannot be written.
    """
    for name, other in others.items():
        if path.resolve() == other.resolve():
            raise UsageError(f"{option}: {path} is also {name}")
    if path.is_dir():
        raise UsageError(f"{option}: {path} is a folder")
    if not path.parent.is_dir():
        raise UsageError(f"{option}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{option}: no permission to write to the folder {path.parent}")


def find_gpu(name: str | None) -> Pool | None:
    """Return the pool of a GPU.

    Raises:
        UsageError: RunPod has none of this name.
    """
    if name is None:
        return None
    pool = find_pool(name)
    if pool is None:
        near = did_you_mean(suggest(name, known_gpus(), HINT))
        raise UsageError(f"--gpu: no RunPod pool has a GPU named {name!r}.{near}")
    return pool


def summary_data(
    tally: Tally, pool: Pool | None, gpus: int, output: Path, errors: Path
) -> dict[str, Any]:
    """Return the figures as data."""
    return {
        "answered": tally.answered,
        "failed": tally.failed,
        "tokens": tally.tokens,
        "busy_s": round(tally.busy_s, 3),
        "usd": _price(tally, pool, gpus),
        "output": str(output),
        "errors": str(errors),
    }


def describe(tally: Tally, pool: Pool | None, gpus: int, output: Path, errors: Path) -> list[str]:
    """Return the figures as lines of text."""
    tokens, busy_s = tally.tokens, tally.busy_s
    rate = f", {tokens['output'] / busy_s:,.0f} tokens out a second" if busy_s else ""
    lines = [
        f"{tally.answered:,} answered, {tally.failed:,} failed",
        f"Tokens: {tokens['input']:,} in ({tokens['cached']:,} cached), {tokens['output']:,} out "
        f"({tokens['reasoning']:,} of them reasoning)",
        f"Time: {busy_s:,.1f} s in which requests were processed{rate}",
    ]
    if pool is not None:
        usd = _price(tally, pool, gpus)
        price = "no published price" if usd is None else f"${usd:,.2f}"
        lines.append(
            f"Cost: {price} for one worker with {gpus} x {pool.gpus[0]} during that time, without "
            f"starts, idle time and RunPod's batch discount ({PRICES_SOURCE})"
        )
    return [*lines, f"Answers: {output}", f"Failures: {errors}"]


def _price(tally: Tally, pool: Pool | None, gpus: int) -> float | None:
    if pool is None or pool.usd_per_s is None:
        return None
    return round(tally.busy_s * pool.usd_per_s * gpus, 4)
