"""The options of `worker batch`, each declared here only.

Imported at every start of the command line, so this module imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer


@dataclass(frozen=True)
class BatchOptions:
    """One command line."""

    file: Annotated[
        Path, typer.Argument(help="File in OpenAI's batch format, one JSON object per line.")
    ]
    endpoint: Annotated[
        str | None, typer.Option(help="Id of a queue endpoint, or its URL: http://host/v2/ID.")
    ] = None
    output: Annotated[
        Path | None,
        typer.Option(help="File for the answers. Default: FILE's name with .output.jsonl."),
    ] = None
    errors: Annotated[
        Path | None,
        typer.Option(help="File for the failures. Default: FILE's name with .errors.jsonl."),
    ] = None
    state: Annotated[
        Path | None, typer.Option(help="Folder for the progress. Default: FILE's name with .batch.")
    ] = None
    requests_per_batch: Annotated[
        int, typer.Option(min=1, help="Maximum number of requests per RunPod batch.")
    ] = 5000
    gpu: Annotated[
        str | None, typer.Option(help="GPU of the endpoint, e.g. H100, to estimate the cost.")
    ] = None
    gpus: Annotated[
        int, typer.Option(min=1, max=8, help="GPUs per worker, to estimate the cost.")
    ] = 1
    check: Annotated[bool, typer.Option("--check", help="Check the file and send nothing.")] = False
    cancel: Annotated[
        bool,
        typer.Option(
            "--cancel", help="Cancel requests that have not started, and write finished ones."
        ),
    ] = False
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object.")
    ] = False
