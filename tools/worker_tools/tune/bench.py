"""`worker bench`: one measurement of an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from worker.console import open_console, print_json
from worker.errors import ExitCode
from worker.profile.pools import PRICES_SOURCE
from worker_tools.tune.choice import Rent
from worker_tools.tune.load import Result, Workload
from worker_tools.tune.measurement import Load, Measurement, Spread
from worker_tools.tune.options import BenchOptions
from worker_tools.tune.outcome import guard, show_progress
from worker_tools.tune.session import check_inputs, find_rent, open_session
from worker_tools.tune.target import FirstRequest, find_target
from worker_tools.tune.workers import ColdStarts


def run_bench(
    environ: Mapping[str, str], options: BenchOptions, *, console: Console | None = None
) -> int:
    """Measure an endpoint and print the figures.

    Args:
        environ: The user's environment, with the key.
        options: The command line.
        console: Where to print; None is stderr for the progress and stdout for the figures.

    Returns:
        Exit status: 1 if requests have failed, 2 if the command line is wrong, 5 if the endpoint
        cannot be reached, 130 after Ctrl-C.
    """
    out = console or open_console()
    notes = console or open_console(stderr=True)
    return guard("bench", environ, notes, lambda: _run(environ, options, out, notes))


def _run(environ: Mapping[str, str], options: BenchOptions, out: Console, notes: Console) -> int:
    inputs = check_inputs(options)
    target = find_target(environ, options.url)
    rent = find_rent(environ, target, inputs.pool, options.gpus)
    concurrency = options.concurrency if options.rate is None else None
    load = Load(requests=options.requests, concurrency=concurrency, rate=options.rate)

    async def measure() -> tuple[Workload, FirstRequest, Result, ColdStarts | None]:
        async with open_session(environ, target, options, inputs, notes) as session:
            with show_progress(notes, str(load), load.requests) as progress:
                result = await session.generator.run(load, progress)
            cold = session.watch.count(result.starts_s)
            return session.workload, session.first, result, cold

    workload, first, result, cold = asyncio.run(measure())
    found = result.measurement
    if options.as_json:
        print_json(out, bench_data(target.base_url, workload, first, found, cold, rent))
    else:
        title = f"{target.base_url}: {workload.model}, {workload}, {load}"
        print_bench(out, title, first, found, cold, rent)
    return ExitCode.FAILURE if found.failed else ExitCode.OK


def bench_data(
    url: str,
    workload: Workload,
    first: FirstRequest,
    found: Measurement,
    cold: ColdStarts | None,
    rent: Rent | None,
) -> dict[str, Any]:
    """Return the figures as data."""
    return {
        "url": url,
        "model": workload.model,
        "workload": str(workload),
        **measurement_data(found, rent),
        "cold_starts": None
        if cold is None
        else {"cold": cold.cold, "requests": cold.requests, "share": round(cold.share, 4)},
        "first_request_s": round(first.seconds, 3),
        "first_request_delay_s": first.delay_s,
        "gpu": None if rent is None else rent.pool.gpus[0],
        "gpus": None if rent is None else rent.gpus,
    }


def measurement_data(found: Measurement, rent: Rent | None) -> dict[str, Any]:
    """Return a measurement with what follows from it, as data."""
    return {
        **found.model_dump(),
        "output_tokens_per_s": round(found.output_per_s, 2),
        "tokens_per_s": round(found.tokens_per_s, 2),
        "requests_per_s": round(found.requests_per_s, 3),
        "usd_per_million_output": rent and rent.usd_per_million(found.output_per_s),
        "usd_per_million_tokens": rent and rent.usd_per_million(found.tokens_per_s),
    }


def print_bench(
    out: Console,
    title: str,
    first: FirstRequest,
    found: Measurement,
    cold: ColdStarts | None,
    rent: Rent | None,
) -> None:
    """Print the figures as a table."""
    out.print(title, markup=False, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in (
        ("Requests", f"{found.completed} answered, {found.failed} failed in {found.seconds:.1f} s"),
        *(("", f"{count} x {reason}") for reason, count in found.errors.items()),
        *(describe_answers(found) if found.completed else ()),
        ("Cold starts", describe_cold(cold, first)),
        *((("Price", describe_price(found, rent)),) if found.completed else ()),
    ):
        table.add_row(*(text.replace("[", "\\[") for text in row))
    out.print(table)


def describe_answers(found: Measurement) -> Iterator[tuple[str, str]]:
    """Yield the rows about the answers."""
    yield "First token", describe_spread(found.first_token_ms)
    yield "Time per token", describe_spread(found.token_ms)
    yield "Whole answer", describe_spread(found.total_ms)
    yield (
        "Throughput",
        f"{found.output_per_s:,.1f} tokens/s out, {found.tokens_per_s:,.1f} in and out, "
        f"{found.requests_per_s:.2f} requests/s",
    )


def describe_spread(spread: Spread) -> str:
    """Return percentiles as text."""
    return f"p50 {spread.p50:,.1f} ms, p95 {spread.p95:,.1f} ms, p99 {spread.p99:,.1f} ms"


def describe_cold(cold: ColdStarts | None, first: FirstRequest) -> str:
    """Return the share of cold starts, or why it is not known."""
    delay = "" if first.delay_s is None else f", {first.delay_s:.1f} s of it in RunPod's queue"
    took = f"the first request took {first.seconds:.1f} s{delay}"
    if cold is None:
        return f"not known, since this is not a RunPod queue; {took}"
    return (
        f"{cold.cold} of {cold.requests} requests ({cold.share:.0%}) were sent while no worker was "
        f"ready; {took}"
    )


def describe_price(found: Measurement, rent: Rent | None) -> str:
    """Return the price of a million tokens, or why it is not known."""
    if rent is None:
        return "not known; name the endpoint's GPU by --gpu, e.g. --gpu H100"
    output = rent.usd_per_million(found.output_per_s)
    both = rent.usd_per_million(found.tokens_per_s)
    name = f"{rent.gpus} x {rent.pool.gpus[0]}"
    if rent.usd_per_s is None or output is None or both is None:
        return f"no published price for {name}"
    return (
        f"${output:,.3f} per million tokens out, ${both:,.3f} in and out, for one worker with "
        f"{name} under this load (${rent.usd_per_s * 3600:,.2f} an hour; {PRICES_SOURCE})"
    )
