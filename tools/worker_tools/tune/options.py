"""The options of `worker bench` and `worker tune`, each declared here only.

Imported at every start of the command line, so this module imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

MODEL_HELP = "Name of the model at the endpoint; else the first that it lists."


@dataclass(frozen=True, kw_only=True)
class WorkloadOptions:
    """What both commands ask for."""

    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each random prompt.")] = 512
    answer_tokens: Annotated[int, typer.Option(min=1, help="Tokens of each answer to it.")] = 128
    requests_file: Annotated[
        Path | None,
        typer.Option(
            help="Your own requests instead, in OpenAI's batch format: chat or completions."
        ),
    ] = None
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None
    tokenizer: Annotated[
        str | None,
        typer.Option(help="Folder or repository of the tokenizer; else the model's own."),
    ] = None
    gpu: Annotated[
        str | None, typer.Option(help="GPU of the endpoint, e.g. H100, for the price.")
    ] = None
    gpus: Annotated[int, typer.Option(min=1, max=8, help="GPUs of one worker, for the price.")] = 1
    timeout: Annotated[
        float, typer.Option(min=1, help="Maximum time for one request, seconds.")
    ] = 600
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class BenchOptions(WorkloadOptions):
    """One command line of `worker bench`."""

    url: Annotated[
        str,
        typer.Argument(help="Base URL of an OpenAI API, or a RunPod endpoint: its id or URL."),
    ]
    concurrency: Annotated[int, typer.Option(min=1, help="Requests that run at once.")] = 8
    rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="New requests a second instead, at random moments."),
    ] = None
    requests: Annotated[int, typer.Option(min=1, help="Requests to measure.")] = 64


@dataclass(frozen=True, kw_only=True)
class TuneOptions(WorkloadOptions):
    """One command line of `worker tune`."""

    url: Annotated[
        str | None,
        typer.Argument(
            help="Base URL of an OpenAI API, or a RunPod endpoint. Without it, a worker with the "
            "settings of the environment is started on this machine."
        ),
    ] = None
    concurrency: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,…",
            help="Requests at once of each measurement; else 1, 2, 4, … until it stops helping.",
        ),
    ] = None
    rates: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Measure at these rates instead, requests a second."),
    ] = None
    most: Annotated[int, typer.Option(min=1, help="Maximum concurrency to try.")] = 256
    max_first_token: Annotated[
        float | None,
        typer.Option(min=0.001, help="Target: 95 % of the first tokens come within these ms."),
    ] = None
    max_time_per_token: Annotated[
        float | None,
        typer.Option(min=0.001, help="Target: 95 % of the answers take at most these ms a token."),
    ] = None
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Rough duration of one measurement, seconds.")
    ] = 20
    output: Annotated[
        Path, typer.Option(help="The page. The measurements are next to it, as .json.")
    ] = Path("tune.html")
    again: Annotated[
        bool, typer.Option("--again", help="Discard earlier measurements instead of resuming.")
    ] = False
