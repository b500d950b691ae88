"""The options of `worker deploy`, each declared here only.

The command line and the table in docs/deploy-command.md are generated from these fields. The help
of `worker` imports this module, which therefore imports nothing large.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import typer

EndpointMode = Literal["queue", "load-balancer"]
ScaleBy = Literal["requests", "delay"]

IMAGE = "you/worker:1.0"
"""Image in all examples. Once an image is published, its name is set here."""

IDLE_S = 60
"""About the duration of a start. A longer idle time costs more than another start."""

QUEUE_DELAY_S = 4.0
"""RunPod's own default."""

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class DeployOptions:
    """One command line; None means that the profile, the model or RunPod decides."""

    profile: Annotated[
        str | None,
        typer.Argument(help="Profile (see `worker profiles`) or repository id of a model."),
    ] = None
    image: Annotated[
        str | None,
        typer.Option(help=f"Image of this worker in a registry, with its tag: {IMAGE}."),
    ] = None
    name: Annotated[
        str | None, typer.Option(help="Name of the endpoint. Default: from the profile or model.")
    ] = None
    mode: Annotated[
        EndpointMode, typer.Option(help="Type of endpoint: RunPod's queue or load balancer.")
    ] = "queue"
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            help="RunPod pool or GPU, in order of preference. Repeatable. Default: those that fit "
            "the model, cheapest first."
        ),
    ] = None
    gpus: Annotated[
        int | None, typer.Option(min=1, max=8, help="GPUs per worker. Default: as few as fit.")
    ] = None
    workers_min: Annotated[
        int,
        typer.Option(
            min=0, max=1000, help="Number of workers that always run and are always billed."
        ),
    ] = 0
    workers_max: Annotated[
        int,
        typer.Option(min=1, max=1000, help="Maximum number of workers, which limits the costs."),
    ] = 3
    scale_by: Annotated[
        ScaleBy | None,
        typer.Option(help="Scale by number of requests or (queue only) by waiting time."),
    ] = None
    scale_value: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            help="Requests per worker, or seconds. Default: what the KV cache fits, or "
            f"{QUEUE_DELAY_S:g} s.",
        ),
    ] = None
    idle_timeout: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=3600,
            help=f"Billed seconds that a worker stays after its last request. Default: {IDLE_S}. "
            "RunPod rejects it for a queue that scales by requests.",
        ),
    ] = None
    flashboot: Annotated[
        bool, typer.Option(help="RunPod's worker snapshots, for faster starts.")
    ] = True
    network_volume: Annotated[
        str | None,
        typer.Option(help="Id of a network volume. Limits workers to its data center."),
    ] = None
    disk: Annotated[
        int | None,
        typer.Option(min=1, help="Container disk, GB. Default: computed from the weights."),
    ] = None
    registry: Annotated[
        str | None, typer.Option(help="Id of the registry credential of a private image.")
    ] = None
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Setting of the worker. NAME alone uses your shell's value. Repeatable.",
        ),
    ] = None
    secret: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=SECRET]",
            help="Variable from a RunPod secret, by default of the same name. Repeatable.",
        ),
    ] = None
    execute: Annotated[
        bool, typer.Option("--execute", help="Create the endpoint, with the key in RUNPOD_API_KEY.")
    ] = False
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, with the exact requests.")
    ] = False


@dataclass(frozen=True, slots=True)
class OptionText:
    """An option in the docs: its flag, its description and its default."""

    flag: str
    summary: str
    default: str


def with_options(
    options: type[OptionsT],
) -> Callable[[Callable[[OptionsT], None]], Callable[..., None]]:
    """Return a decorator for a command with one option for each field of a dataclass.

    Args:
        options: The dataclass; the command gets an instance of it.
    """

    def decorate(command: Callable[[OptionsT], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**given: Any) -> None:
            command(options(**given))

        run.__signature__ = inspect.signature(options, eval_str=True)  # type: ignore[attr-defined]
        return run

    return decorate


def option_texts(options: type[Any] = DeployOptions) -> list[OptionText]:
    """Return the options of a dataclass, for the docs."""
    parameters = inspect.signature(options, eval_str=True).parameters
    return [_describe(field, parameters[field.name]) for field in dataclasses.fields(options)]


def _describe(field: dataclasses.Field[Any], parameter: inspect.Parameter) -> OptionText:
    kind, option = parameter.annotation.__origin__, parameter.annotation.__metadata__[0]
    if isinstance(option, typer.models.ArgumentInfo):
        return OptionText(field.name.upper(), option.help or "", _default_text(field.default))
    flag = option.default if isinstance(option.default, str) else f"--{field.name}"
    flag = flag.replace("_", "-")
    if kind is bool and field.default is True:
        flag = f"{flag}/--no-{flag[2:]}"
    if option.metavar:
        flag = f"{flag} {option.metavar}"
    return OptionText(flag, option.help or "", _default_text(field.default))


def _default_text(default: object) -> str:
    if isinstance(default, bool):
        return "on" if default else "off"
    return "—" if default in (None, dataclasses.MISSING) else str(default)
