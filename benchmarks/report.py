"""The report: targets, one table and a plot on a page, with all figures in a file next to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks.load import Burst
from benchmarks.measure import Results, count_rounds
from benchmarks.plot import Panel, draw
from benchmarks.record import Record, Setting, save_record
from benchmarks.sample import Sample
from benchmarks.targets import ENGINE, TargetResult, check_targets

Show = Callable[[Sample], str]


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:,.{digits}f}"


COLUMNS: dict[str, Show] = {
    "wall s": lambda s: _number(s.wall_s, 2),
    "tokens/s": lambda s: _number(s.tokens_per_s, 0),
    "first chunk p50 / p99 ms": lambda s: (
        f"{_number(s.first_p50_ms, 0)} / {_number(s.first_p99_ms, 0)}"
    ),
    "gap p50 / p99 ms": lambda s: f"{_number(s.gap_p50_ms, 0)} / {_number(s.gap_p99_ms, 0)}",
    "posts": lambda s: _number(s.posts, 1),
    "kB": lambda s: _number(s.kilobytes, 1),
    "front CPU s": lambda s: _number(s.front_cpu_s, 2),
    "engine CPU s": lambda s: _number(s.engine_cpu_s, 2),
    "endpoint CPU s": lambda s: _number(s.endpoint_cpu_s, 2),
    "front peak MB": lambda s: _number(s.peak_mb, 0),
}

PLOTTED: dict[str, Callable[[Sample], float]] = {
    "wall, s": lambda s: s.wall_s,
    "first chunk p50, ms": lambda s: s.first_p50_ms,
    "front-end CPU, s": lambda s: s.front_cpu_s,
    "posted per stream, kB": lambda s: s.kilobytes,
}

MANY = 128
"""Requests from which the report has a table of CPU time."""

COSTS = """\
Where the CPU time goes, streamed chats at a round trip of {rtt_ms:g} ms, in seconds of one core for
the whole burst; *endpoint* is the local endpoint and the measuring itself, in one process."""

PROFILES = """\
What the CPU time of both processes goes to in these bursts, by samples at equal steps of it: *own*
without the Python functions called, *in all* with them. Compiled code counts as the function
that called it."""

LEGEND = """\
Medians of {rounds} rounds; {tokens} tokens per request; all requests of a row are sent at the same
time. *engine*: vLLM's AsyncLLM without a transport; *worker*: this project; *worker-vllm*: RunPod's
worker. *first chunk*: from the submission to its arrival at the endpoint. *gap*: between two
chunks of one stream. *posts* and *kB*: per request, from worker to platform. *front
CPU*: all processes of the system but vLLM's engine, in seconds of one core, for the whole burst.
*endpoint CPU*: the local endpoint and the measuring itself, in one process; near the wall time, the
endpoint would be the limit. *front peak*: sum of the processes' peak resident memory, shared pages
counted in each."""


def write_report(path: Path, section: str, record: Record) -> None:
    """Write the section of a Markdown file, with its plot and all figures in files next to it.

    Args:
        path: The file; text outside of the section's marks is unchanged.
        section: Name of the section, part of the names of the other two files.
        record: The measurement.
    """
    name = f"{path.stem}-{section}"
    write_section(path, section, describe(record, name))
    save_record(path.with_name(f"{name}.json"), record)
    plot = draw(make_panels(record.setting, record.results))
    path.with_name(f"{name}.svg").write_text(plot, encoding="utf-8")


def write_section(path: Path, section: str, body: str) -> None:
    """Write the section of a Markdown file; other text is unchanged. A new file has a title."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else "# Performance\n"
    path.write_text(replace_section(text, section, body), encoding="utf-8")


def replace_section(text: str, section: str, body: str) -> str:
    """Return `text` with the section's body replaced, or with the section at its end."""
    begin, end = f"<!-- measured: {section} -->", f"<!-- end: {section} -->"
    before, found, rest = text.partition(begin)
    if not found:
        before = text.rstrip("\n") + "\n\n"
    after = rest.partition(end)[2] or "\n"
    return f"{before}{begin}\n{body}\n{end}{after}"


def describe(record: Record, name: str) -> str:
    """Return the section with targets, plot and streamed chats as Markdown.

    Args:
        record: The measurement.
        name: Name of the files with the plot and with all figures, without their suffix.
    """
    setting, results = record.setting, record.results
    rows = _make_rows(setting, results, _plotted(setting))
    parts = [
        describe_facts(setting.facts),
        f"![Wall time, first chunk, CPU and bytes over concurrency]({name}.svg)",
        f"Chats, streamed, at a round trip of {setting.base_rtt_ms:g} ms "
        f"([all figures]({name}.json)):",
        make_table(("requests", "system", *COLUMNS), rows),
        describe_targets(setting, results),
        *describe_failures(results),
    ]
    return "\n\n".join(parts)


def describe_runs(record: Record) -> str:
    """Return all figures as Markdown, for the terminal."""
    setting, results = record.setting, record.results
    fewest, most = count_rounds(results.samples)
    rounds = str(most) if fewest == most else f"{fewest} to {most}"
    parts = [
        describe_facts(setting.facts),
        *describe_costs(setting, results),
        *describe_profiles(record),
        LEGEND.format(rounds=rounds, tokens=setting.tokens),
        *describe_tables(setting, results),
    ]
    return "\n\n".join(parts)


def describe_facts(facts: dict[str, str]) -> str:
    """Return machine, versions, time and command of a measurement."""
    return "\n".join(f"- {name}: {text}" for name, text in facts.items())


def make_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])


def describe_targets(setting: Setting, results: Results) -> str:
    """Return the targets with figures as a table."""
    bursts = list(setting.bursts)
    return describe_target_results(
        check_targets(results.median, bursts, setting.tokens, setting.base_rtt_ms)
    )


def describe_target_results(results: Iterable[TargetResult]) -> str:
    """Return targets and their figures as a table."""
    rows = []
    for result in results:
        figure, limit = (
            f"{_number(v, 2 if v < 10 else 1)} {result.unit}" for v in (result.figure, result.limit)
        )
        rows.append((result.target, figure, limit, "met" if result.met else "**missed**"))
    return make_table(("target", "measured", "at most", ""), rows)


def describe_costs(setting: Setting, results: Results) -> list[str]:
    """Return the CPU time of the largest loads by process."""
    rows = []
    for burst, system in itertools.product(_plotted(setting), setting.systems):
        if burst.concurrency < MANY or (sample := results.median(system, burst)) is None:
            continue
        own, served = sample.root_cpu_s, sample.front_cpu_s - sample.root_cpu_s
        if system == ENGINE:
            own, served = math.nan, sample.front_cpu_s
        costs = (own, served, sample.engine_cpu_s, sample.endpoint_cpu_s, sample.wall_s)
        rows.append((str(burst.concurrency), system, *(_number(cost, 2) for cost in costs)))
    head = (
        *("requests", "system", "worker's process", "vLLM's front end or server"),
        *("vLLM's engine", "endpoint", "wall"),
    )
    return [COSTS.format(rtt_ms=setting.base_rtt_ms), make_table(head, rows)] if rows else []


def describe_profiles(record: Record) -> list[str]:
    """Return the CPU profiles of the worker's processes, if there are any."""
    parts = [PROFILES] if record.profiles else []
    for profile in record.profiles:
        libraries = ", ".join(f"{name} {share:.0%}" for name, share in profile.libraries.items())
        rows = [(f"`{s.name}`", f"{s.own:.1%}", f"{s.within:.1%}") for s in profile.hotspots]
        title = f"{profile.process}, {profile.samples:,} samples"
        parts.append(f"*{title}*; by library: {libraries}.")
        parts.append(make_table(("function", "own", "in all"), rows))
    return parts


def describe_tables(setting: Setting, results: Results) -> list[str]:
    """Return a heading and a table for each kind of request and each round trip."""
    parts = []
    for (stream, shape, rtt_ms), group in itertools.groupby(
        (burst for burst in setting.bursts if burst.tokens == setting.tokens),
        key=lambda burst: (burst.stream, burst.shape, burst.rtt_ms),
    ):
        rows = list(_make_rows(setting, results, list(group)))
        if rows:
            kind = "streamed" if stream else "not streamed"
            parts.append(f"### {shape.capitalize()}, {kind}, round trip {rtt_ms:g} ms")
            parts.append(make_table(("requests", "system", *COLUMNS), rows))
    return parts


def describe_failures(results: Results) -> list[str]:
    """Return the failed measurements; empty if all succeeded."""
    if not results.failures:
        return []
    rows = [
        f"- {system}, {burst.concurrency} at once, round trip {burst.rtt_ms:g} ms: {why}"
        for (system, burst), why in results.failures.items()
    ]
    return ["### Not measured", "\n".join(rows)]


def choose_profiled(setting: Setting) -> list[Burst]:
    """Return the bursts to profile, which are the largest loads."""
    return [burst for burst in _plotted(setting) if burst.concurrency >= MANY]


def make_panels(setting: Setting, results: Results) -> list[Panel]:
    """Return the panels of the plot: streamed chats at the base round trip."""
    panels = []
    for title, take in PLOTTED.items():
        lines = {
            system: [
                (float(burst.concurrency), take(sample))
                for burst in _plotted(setting)
                if (sample := results.median(system, burst)) is not None and take(sample) > 0
            ]
            for system in setting.systems
        }
        panels.append(Panel(title, {name: line for name, line in lines.items() if line}))
    return panels


def _plotted(setting: Setting) -> list[Burst]:
    """Return the streamed chats at the base round trip."""
    return [
        burst
        for burst in setting.bursts
        if burst.stream and burst.shape == "chat" and burst.rtt_ms == setting.base_rtt_ms
    ]


def _make_rows(
    setting: Setting, results: Results, bursts: list[Burst]
) -> Iterable[tuple[str, ...]]:
    for burst, system in itertools.product(bursts, setting.systems):
        if (sample := results.median(system, burst)) is not None:
            yield str(burst.concurrency), system, *(show(sample) for show in COLUMNS.values())
