"""Plan an endpoint from a command line and validate it before any request to RunPod."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.errors import ConfigurationError, Problem
from worker.machine import GIB, MachineInfo
from worker.profile import PROFILES
from worker.profile.model import CUDA
from worker.settings.endpoint import choose_ports
from worker.settings.load import load_settings
from worker.settings.registry import load_registry
from worker.settings.settings import Settings
from worker.sizing import SizingTarget, load_target
from worker_tools.deploy import sizing
from worker_tools.deploy.gpus import Gpus, choose_gpus
from worker_tools.deploy.options import (
    IDLE_S,
    IMAGE,
    QUEUE_DELAY_S,
    DeployOptions,
    EndpointMode,
)
from worker_tools.deploy.variables import collect_variables

INIT_TIMEOUT = "RUNPOD_INIT_TIMEOUT"
"""RunPod stops a worker that has not started within this time."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{2,62}")
"""RunPod refuses names of fewer than three characters."""
NAME_TEXT = "3 to 63 letters, digits, spaces, dots, dashes and underscores"

TAGGED = re.compile(r"[^@]+(@sha256:[0-9a-f]{64}|:[\w][\w.-]*)")
ANCHOR = "deploy-command.md"


@dataclass(frozen=True, slots=True)
class Scaling:
    """When RunPod starts another worker.

    Attributes:
        by_requests: By requests that one worker answers; else by seconds that a job waits.
        value: Requests or seconds.
        idle_s: Seconds that a worker stays after its last request; None where RunPod decides.
    """

    by_requests: bool
    value: float
    idle_s: int | None


@dataclass(frozen=True, slots=True)
class Deployment:
    """An endpoint that may be created, complete and checked.

    Attributes:
        options: The command line.
        name: Name of the endpoint.
        image: The worker's image.
        target: The configuration and the memory that it requires.
        variables: Environment of the container; secrets are references.
        disk_gb: Container disk, GB.
        ports: Ports for HTTP; none behind the queue.
        gpus: GPUs of one worker.
        cuda: Least CUDA version of the host's driver.
        scaling: When another worker starts.
        execution_s: Maximum time for one request, seconds.
        start_s: Maximum time for a start, seconds.
        warnings: Problems that do not prevent the deployment.
    """

    options: DeployOptions
    name: str
    image: str
    target: SizingTarget
    variables: Mapping[str, str]
    disk_gb: int
    ports: tuple[int, ...]
    gpus: Gpus
    cuda: str
    scaling: Scaling
    execution_s: int
    start_s: int
    warnings: tuple[Problem, ...]

    @property
    def mode(self) -> EndpointMode:
        """Where requests come from."""
        return self.options.mode


def plan_deployment(
    options: DeployOptions, environ: Mapping[str, str], profiles: Path = PROFILES
) -> Deployment:
    """Return the endpoint that a command line describes.

    Args:
        options: The command line.
        environ: The user's environment; only `--env NAME` reads it.
        profiles: The built-in profiles.

    Raises:
        ConfigurationError: With every problem found, those of `worker check` included.
    """
    problems: list[Problem] = []
    variables = collect_variables(options, environ, load_registry(), problems)
    problems += _check_options(options)
    problems += _choose_mode(options, variables)
    target = _load_target(variables, profiles, problems)
    if target is None:
        raise ConfigurationError(problems)
    gpus = choose_gpus(target, options, problems)
    disk = _choose_disk(options, target, problems)
    if problems or gpus is None:
        raise ConfigurationError(problems)
    settings = load_settings(
        variables, machine=MachineInfo(gpus=gpus.count, memory_bytes=GIB), profiles=profiles
    )
    ports = _ports(options, settings, variables)
    start = sizing.start_seconds(target)
    if start != sizing.default_start_seconds():
        variables.setdefault(INIT_TIMEOUT, str(start))
    return Deployment(
        options=options,
        name=_choose_name(options, settings, variables),
        image=options.image or "",
        target=target,
        variables=variables,
        disk_gb=disk,
        ports=ports,
        gpus=gpus,
        cuda=CUDA if settings.profile is None else settings.profile.about.hardware.cuda,
        scaling=_scaling(options, target, gpus),
        execution_s=sizing.execution_seconds(settings),
        start_s=start,
        warnings=(*settings.warnings, *_warn(options, target, variables)),
    )


def _load_target(
    variables: Mapping[str, str], profiles: Path, problems: list[Problem]
) -> SizingTarget | None:
    """Return the configuration, checked as `worker check` does; None when it is wrong."""
    if not variables.get("PROFILE") and not variables.get("MODEL_NAME"):
        expected = "a profile or a model's repository id, as in `worker deploy qwen3-8b`"
        problems.append(Problem("PROFILE", "no model is given", expected=expected))
        return None
    profile = variables.get("PROFILE", "")
    if Path(profile).suffix in (".yaml", ".yml"):
        message = "is a file, which this machine cannot read for the container"
        expected = "a built-in profile; or its settings, each as --env NAME=VALUE"
        problems.append(Problem("PROFILE", message, profile, expected))
        return None
    try:
        return load_target(variables, profiles=profiles)
    except ConfigurationError as error:
        problems += error.problems
        return None


def _check_options(options: DeployOptions) -> Iterator[Problem]:
    if not options.image:
        message = "no image is given; build one and push it to a registry"
        yield Problem("--image", message, expected=IMAGE, anchor="image.md")
    if options.name is not None and not NAME.fullmatch(options.name):
        yield Problem("--name", "not a valid name of an endpoint", options.name, NAME_TEXT)
    if options.workers_min > options.workers_max:
        limit = f"at most --workers-max, which is {options.workers_max}"
        yield Problem("--workers-min", "too many", str(options.workers_min), limit)
    yield from _check_scaling(options)


def _check_scaling(options: DeployOptions) -> Iterator[Problem]:
    by_requests = _by_requests(options)
    anchor = f"{ANCHOR}#scaling"
    if options.mode == "load-balancer" and not by_requests:
        message = "a load balancer has no queue in which requests wait"
        yield Problem("--scale-by", message, "delay", "requests", anchor=anchor)
    if by_requests and options.scale_value is not None and options.scale_value % 1:
        given = f"{options.scale_value:g}"
        yield Problem("--scale-value", "not a number of requests", given, "a whole number")
    if options.mode == "queue" and by_requests and options.idle_timeout is not None:
        message = "RunPod does not accept an idle timeout for a queue that scales by requests"
        expected = "--scale-by delay with it, or neither"
        yield Problem("--idle-timeout", message, expected=expected, anchor=anchor)


def _choose_mode(options: DeployOptions, variables: dict[str, str]) -> Iterator[Problem]:
    """Set the load balancer's mode in the worker; reject a mode that contradicts the options."""
    given = variables.get("WORKER_MODE", "auto")
    if given not in ("auto", options.mode):
        message = f"--mode is {options.mode}"
        yield Problem("--env WORKER_MODE", message, given, f"nothing, or {options.mode}")
    elif options.mode == "load-balancer":
        variables["WORKER_MODE"] = options.mode


def _ports(
    options: DeployOptions, settings: Settings, variables: dict[str, str]
) -> tuple[int, ...]:
    """Return the ports to expose, and set a port that is not RunPod's default."""
    if options.mode == "queue":
        return ()
    port, health = choose_ports(settings.endpoint, "load-balancer")
    if settings.endpoint.http_port is not None:
        variables["PORT"] = str(port)
    return tuple(dict.fromkeys((port, health)))


def _by_requests(options: DeployOptions) -> bool:
    return options.scale_by != "delay"


def _scaling(options: DeployOptions, target: SizingTarget, gpus: Gpus) -> Scaling:
    if not _by_requests(options):
        return Scaling(False, options.scale_value or QUEUE_DELAY_S, options.idle_timeout or IDLE_S)
    value = options.scale_value or sizing.requests_per_worker(target, gpus)
    idle = None if options.mode == "queue" else options.idle_timeout or IDLE_S
    return Scaling(True, value, idle)


def _choose_disk(options: DeployOptions, target: SizingTarget, problems: list[Problem]) -> int:
    """Return the container disk, GB; 0 and a problem if the required size is not known."""
    on_volume = options.network_volume is not None
    disk = options.disk or sizing.disk_gb(target, on_volume=on_volume)
    if disk is None:
        message = f"the size of {target.label} is not known"
        expected = f"GB for the model and {sizing.DISK_FREE_GB} more"
        problems.append(Problem("--disk", message, expected=expected))
    return disk or 0


def _choose_name(options: DeployOptions, settings: Settings, variables: Mapping[str, str]) -> str:
    """Return the endpoint's name: from the options, else from the profile or the model."""
    if options.name is not None:
        return options.name
    text = variables.get("PROFILE") or settings.model.served_name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text.rsplit("/", 1)[-1])[:63].strip("-")
    if not NAME.fullmatch(name):
        message = "the model's name is not valid for an endpoint"
        raise ConfigurationError([Problem("--name", message, name, NAME_TEXT)])
    return name


def _warn(
    options: DeployOptions, target: SizingTarget, variables: Mapping[str, str]
) -> Iterator[Problem]:
    requirement = target.requirement
    if not TAGGED.fullmatch(options.image or "") or str(options.image).endswith(":latest"):
        message = "without a unique tag, workers may run different images after the next push"
        yield Problem("--image", message, options.image)
    if requirement is None:
        yield Problem("--gpu", f"not checked: the memory that {target.label} needs is not known")
        return
    gated = requirement.profile.about.fact("gated")
    if gated is not None and gated.value and "HF_TOKEN" not in variables:
        message = "the model is gated; unless it is in the image, workers cannot download it"
        yield Problem("--secret HF_TOKEN", message, anchor=f"{ANCHOR}#secrets")
