"""The command `python -m benchmarks.batch`: RunPod's batches against the real engine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import orjson
import typer

from benchmarks.batch_kills import KillReport, run_with_kills
from benchmarks.command import describe_run, publish, report, run_in_order
from benchmarks.environment import make_environ
from benchmarks.launch import runs_on_gpu
from benchmarks.model import Size, build_model
from benchmarks.offline import BATCH_SETTINGS, Load, describe_offline, measure_offline
from benchmarks.report import describe_facts
from worker_tools.dev import Limits, LocalDeployment, LocalEndpoint

MODEL_LEN = 2048

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@app.command()
def kills(
    requests: Annotated[int, typer.Option(help="Requests of the file.")] = 10_000,
    per_batch: Annotated[int, typer.Option(help="Requests of one batch.")] = 5000,
    write: Annotated[Path | None, typer.Option(help="Markdown file for the report.")] = None,
) -> None:
    """Send a file with `worker batch`, killed twice, and compare every answer with its request."""
    report = run_in_order(_run_kills(requests, per_batch))
    facts = describe_batch_run() | {
        "requests": f"{report.requests:,}",
        "killed": f"{report.kills} times by SIGKILL: while it submitted, and half-way",
        "answers": f"{report.answered:,}, each compared with its request",
        "failures": f"{report.failed:,}, each of a request that vLLM has to refuse",
        "lost or processed twice": "none",
        "seconds": f"{report.seconds:.0f}",
    }
    publish(
        write, "batch-kills", f"{describe_facts(facts)}\n\n```text\n{find_figures(report)}\n```"
    )


def find_figures(report: KillReport) -> str:
    """Return what the command printed, without the names of its files."""
    lines = report.summary.splitlines()
    return "\n".join(line for line in lines if not line.startswith(("Answers:", "Failures:")))


def describe_batch_run() -> dict[str, str]:
    """Return with what, when and how this is measured."""
    facts = describe_run()
    return facts | {"command": facts["command"].replace("-m benchmarks", "-m benchmarks.batch")}


async def _run_kills(requests: int, per_batch: int) -> KillReport:
    with tempfile.TemporaryDirectory(prefix="batch-") as name:
        folder = Path(name)
        gpu = runs_on_gpu()
        model = build_model(folder / "model", gpu=gpu, max_model_len=MODEL_LEN)
        log = (folder / "worker.log").open("w", encoding="utf-8")
        endpoint = LocalEndpoint(limits=Limits(run_retention_s=86_400))
        async with LocalDeployment(
            environ=make_environ(os.environ, model, gpu=gpu),
            endpoint=endpoint,
            on_output=lambda _worker, line: print(line, file=log),
        ) as deployment:
            await deployment.wait_ready()
            report("the worker is ready")
            return await run_with_kills(endpoint, folder, requests, per_batch)


@app.command()
def offline(  # noqa: PLR0913  one parameter per option
    requests: Annotated[int, typer.Option(help="Prompts.")] = 512,
    words: Annotated[int, typer.Option(help="Words of each prompt.")] = 64,
    tokens: Annotated[int, typer.Option(help="Tokens that each request generates.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each system.")] = 3,
    size: Annotated[
        Size | None, typer.Option(help="The model; 8b on a GPU, cpu elsewhere.")
    ] = None,
    rtt_ms: Annotated[float, typer.Option(help="Round trip to the platform, ms.")] = 0,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the worker; else as docs/batch.md advises."),
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Markdown file for the report.")] = None,
    save: Annotated[Path | None, typer.Option(help="JSON file for the figures.")] = None,
    section: Annotated[str, typer.Option(help="Its section for this machine.")] = "cpu",
) -> None:
    """Compare the worker with only batch jobs and `vllm bench throughput`."""
    load = Load(size or ("8b" if runs_on_gpu() else "cpu"), requests, words, tokens, rtt_ms)
    facts = describe_batch_run()
    settings = dict(one.split("=", 1) for one in setting) if setting else BATCH_SETTINGS
    facts["worker"] = ", ".join(f"`{name}={value}`" for name, value in settings.items())
    timings = run_in_order(measure_offline(load, rounds, settings, report))
    if save is not None:
        found = {"facts": facts, "load": load, "timings": timings}
        save.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    publish(write, f"{section}-offline", describe_offline(timings, load, facts))


if __name__ == "__main__":
    app()
