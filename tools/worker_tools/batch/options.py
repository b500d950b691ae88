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
        Path, typer.Argument(help="Requests in OpenAI's batch format, one JSON object a line.")
    ]
    endpoint: Annotated[
        str | None, typer.Option(help="Id of a queue endpoint, or its URL: http://host/v2/ID.")
    ] = None
    output: Annotated[
        Path | None, typer.Option(help="File of the answers; else FILE's name with .output.jsonl.")
    ] = None
    errors: Annotated[
        Path | None, typer.Option(help="File of the failures; else FILE's name with .errors.jsonl.")
    ] = None
    state: Annotated[
        Path | None, typer.Option(help="Folder of the progress; else FILE's name with .batch.")
    ] = None
    requests_per_batch: Annotated[
        int, typer.Option(min=1, help="Maximum number of requests of one RunPod batch.")
    ] = 5000
    gpu: Annotated[
        str | None, typer.Option(help="GPU of the endpoint, e.g. H100, to estimate the cost.")
    ] = None
    gpus: Annotated[int, typer.Option(min=1, max=8, help="GPUs of one worker, for the cost.")] = 1
    check: Annotated[bool, typer.Option("--check", help="Check the file; send nothing.")] = False
    cancel: Annotated[
        bool,
        typer.Option("--cancel", help="Cancel what has not started, and write what has ended."),
    ] = False
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object.")
    ] = False
