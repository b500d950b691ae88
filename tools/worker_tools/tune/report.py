"""What `worker tune` tells: a table, the choices with their price, and a page with plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import orjson
from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from worker.profile.pools import PRICES_SOURCE
from worker_tools.batch.state import replace_file
from worker_tools.dev.web.static_files import FOLDER as CONSOLE_FILES
from worker_tools.tune.choice import CHEAPEST, KNEE, TARGET, Choice, Rent, Targets, choose
from worker_tools.tune.measurement import Measurement, Spread

TEMPLATES = Path(__file__).parent / "templates"

FILES: Mapping[str, Path] = {
    "uplot_css": CONSOLE_FILES / "vendor/uplot/uPlot.min.css",
    "uplot_licence": CONSOLE_FILES / "vendor/uplot/LICENSE",
    "uplot_js": CONSOLE_FILES / "vendor/uplot/uPlot.iife.min.js",
    "console_css": CONSOLE_FILES / "style.css",
    "page_css": TEMPLATES / "page.css",
    "page_js": TEMPLATES / "page.js",
}
"""What the page holds: colours and plots are those of the console page."""

MEANINGS: Mapping[str, str] = {
    TARGET: "the most throughput within your target",
    KNEE: "the most throughput for its latency; more load adds more latency than throughput",
    CHEAPEST: "the most throughput, for work that can wait",
}


@dataclass(slots=True)
class Report:
    """All that is known.

    Attributes:
        targets: Latency to keep.
        page: Where the page is written.
        points: What was measured.
        endpoint: What was measured, as text.
        model: Its model.
        workload: What was asked, as text.
        rent: GPUs of one worker; None if not known.
        warnings: What the reader has to know.
    """

    targets: Targets
    page: Path
    points: list[Measurement]
    endpoint: str = ""
    model: str = ""
    workload: str = ""
    rent: Rent | None = None
    warnings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.model} at {self.endpoint}, {self.workload}"

    @property
    def choices(self) -> list[Choice]:
        """The choices, the recommended one first."""
        return choose(self.points, self.targets)

    @property
    def sorted_points(self) -> list[Measurement]:
        """All measurements by their load."""
        return sorted(self.points, key=lambda point: point.at_once)

    @property
    def gpu(self) -> str:
        """The GPUs as text."""
        return "" if self.rent is None else f"{self.rent.gpus} x {self.rent.pool.gpus[0]}"


def describe_point(found: Measurement) -> str:
    """Return a measurement as one line."""
    failed = f", {found.failed} failed ({next(iter(found.errors), '')})" if found.failed else ""
    return (
        f"{found.load}: {found.output_per_s:,.0f} tokens/s out, first token "
        f"{found.first_token_ms.p95:,.0f} ms, {found.token_ms.p95:,.1f} ms per token (p95)"
        f"{failed}"
    )


def usd(value: float | None) -> str:
    """Return a price as text."""
    return "—" if value is None else f"${value:,.3f}"


def price_output(report: Report, point: Measurement) -> float | None:
    """Return the price of a million tokens of answers."""
    return None if report.rent is None else report.rent.usd_per_million(point.output_per_s)


def price_all(report: Report, point: Measurement) -> float | None:
    """Return the price of a million tokens of prompts and answers."""
    return None if report.rent is None else report.rent.usd_per_million(point.tokens_per_s)


def deploy_options(choice: Choice) -> str:
    """Return the choice as options of `worker deploy`."""
    settings = " ".join(f"--env {name}={value}" for name, value in choice.settings.items())
    return f"{settings} --scale-by requests --scale-value {choice.request_count}"


def environment_lines(choice: Choice) -> str:
    """Return the choice as lines of an environment."""
    return "\n".join(f"{name}={value}" for name, value in choice.settings.items())


def choice_data(report: Report, choice: Choice) -> dict[str, Any]:
    """Return a choice as data."""
    return {
        "name": choice.name,
        "load": str(choice.point.load),
        "settings": dict(choice.settings),
        "request_count": choice.request_count,
        "usd_per_million_output": price_output(report, choice.point),
        "usd_per_million_tokens": price_all(report, choice.point),
    }


def point_data(report: Report, point: Measurement) -> dict[str, Any]:
    """Return a measurement with what follows from it, as data."""
    return {
        **point.model_dump(),
        "name": str(point.load),
        "at_once": point.at_once,
        "output_tokens_per_s": round(point.output_per_s, 2),
        "tokens_per_s": round(point.tokens_per_s, 2),
        "requests_per_s": round(point.requests_per_s, 3),
        "usd_per_million_output": price_output(report, point),
        "usd_per_million_tokens": price_all(report, point),
    }


def report_data(report: Report) -> dict[str, Any]:
    """Return everything as data."""
    return {
        "endpoint": report.endpoint,
        "model": report.model,
        "workload": report.workload,
        "gpu": report.gpu or None,
        "targets": {
            "first_token_ms": report.targets.first_token_ms,
            "token_ms": report.targets.token_ms,
        },
        "measurements": [point_data(report, point) for point in report.sorted_points],
        "choices": [choice_data(report, choice) for choice in report.choices],
        "warnings": report.warnings,
        "page": str(report.page),
    }


def spread(value: Spread, digits: int) -> str:
    """Return the median and the 95th percentile."""
    return f"{value.p50:,.{digits}f} / {value.p95:,.{digits}f}"


HEAD = (
    "load",
    "tokens/s out",
    "first token ms",
    "ms per token",
    "whole answer s",
    "$/M out",
    "$/M in + out",
    "failed",
    "",
)
"""Columns of the table; durations are p50 / p95."""


def table_rows(report: Report) -> list[tuple[str, ...]]:
    """Return the rows of the table, in the order of `HEAD`."""
    names: dict[str, list[str]] = {}
    for choice in report.choices:
        names.setdefault(str(choice.point.load), []).append(choice.name)
    return [
        (
            str(point.load),
            f"{point.output_per_s:,.0f}",
            spread(point.first_token_ms, 0),
            spread(point.token_ms, 1),
            f"{point.total_ms.p50 / 1000:,.2f} / {point.total_ms.p95 / 1000:,.2f}",
            usd(price_output(report, point)),
            usd(price_all(report, point)),
            str(point.failed or ""),
            ", ".join(names.get(str(point.load), [])),
        )
        for point in report.sorted_points
    ]


def print_report(out: Console, report: Report) -> None:
    """Print table and choices."""

    def say(text: str = "") -> None:
        out.print(text, markup=False, soft_wrap=True)

    say(f"\n{report}{f', {report.gpu}' if report.gpu else ''}\n")
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(HEAD):
        table.add_column(name, justify="left" if place in (0, len(HEAD) - 1) else "right")
    for row in table_rows(report):
        table.add_row(*row)
    out.print(table)
    say("Durations: p50 / p95.")
    say(describe_prices(report))
    if report.targets and report.choices[0].name != TARGET:
        say(f"\n{describe_missed(report)}")
    for choice in report.choices:
        say(f"\n{choice.name} ({MEANINGS[choice.name]}): {choice.point.load}")
        say(environment_lines(choice))
        say(f"RunPod's request count (REQUEST_COUNT): {choice.request_count}")
        say(f"worker deploy … {deploy_options(choice)}")
    for warning in report.warnings:
        say(f"\nNote: {warning}.")
    say(f"\nPage: {report.page}")


def describe_prices(report: Report) -> str:
    """Return what the prices mean."""
    if report.rent is None:
        return "Prices: not known; name the GPU by --gpu, e.g. --gpu H100."
    if report.rent.usd_per_s is None:
        return f"Prices: none is published for {report.gpu}."
    return (
        f"Prices: a flex worker with {report.gpu} that is busy with this load all the time, "
        f"${report.rent.usd_per_s * 3600:,.2f} an hour ({PRICES_SOURCE})."
    )


def describe_missed(report: Report) -> str:
    """Return how far the best measurement is from the targets, and what can help."""
    best = report.sorted_points[0]
    return (
        f"No load keeps the target ({report.targets}): {best.load}, the first token took "
        f"{best.first_token_ms.p95:,.0f} ms and each further one {best.token_ms.p95:,.1f} ms "
        "(p95). Try a faster GPU, a quantized or smaller model, or shorter prompts."
    )


def write_page(report: Report) -> None:
    """Write the page: one file that needs no network."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # In a script element, `<` could end it.
    data = orjson.dumps(report_data(report)).decode().replace("<", "\\u003c")
    text = environment.get_template("page.html.j2").render(
        report=report,
        data=Markup(data),  # noqa: S704
        files={name: Markup(path.read_text("utf-8")) for name, path in FILES.items()},  # noqa: S704
        head=HEAD,
        rows=table_rows(report),
        meanings=MEANINGS,
        prices=describe_prices(report),
        missed=describe_missed(report)
        if report.targets and report.choices[0].name != TARGET
        else "",
        environment_lines=environment_lines,
        deploy_options=deploy_options,
        usd=usd,
        price_output=price_output,
        price_all=price_all,
    )
    with replace_file(report.page) as file:
        file.write(text.encode())
