"""Pages about deployment: the command, the image, and what each profile needs and costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from worker.errors import Problem
from worker.profile import builtin_folder, names
from worker.profile.pools import PRICES_SOURCE
from worker.settings.registry import OptionRegistry
from worker.settings.secrets import SECRETS_PAGE
from worker.sizing import formatting, load_target
from worker_tools.deploy import gpus as deploy_gpus
from worker_tools.deploy import options as deploy_options
from worker_tools.deploy import plan, request, sizing
from worker_tools.deploy.gpus import choose_gpus, prices
from worker_tools.deploy.options import DeployOptions
from worker_tools.deploy.variables import secret_reference
from worker_tools.render.build_arguments import BUILD_ARGUMENTS
from worker_tools.render.markdown import render_template

EXAMPLE = "qwen3-8b"
"""Profile of the example on the page of sizes, as in the guides."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a worker with a profile needs, on the cheapest GPUs that hold it.

    Attributes:
        profile: The profile's name.
        stored_bytes: Weights as they are downloaded, bytes.
        disk_gb: Container disk, GB.
        gpus: GPUs of one worker.
        pool: Their pool.
        usd_per_hour: Price while they run; None if it is not published.
        requests: Concurrent requests of `sizing.PLANNED_TOKENS`.
        start_s: Time limit of a start, seconds.
    """

    profile: str
    stored_bytes: int
    disk_gb: int
    gpus: int
    pool: str
    usd_per_hour: float | None
    requests: int
    start_s: int


def deploy_page(_registry: OptionRegistry) -> str:
    """Return the page about `worker deploy`: its options, and the constants of its computations."""
    return render_template(
        "deploy-command.md.j2",
        options=deploy_options.option_texts(),
        deploy_options=deploy_options,
        image=deploy_options.IMAGE,
        sizing=sizing,
        plan=plan,
        max_pools=deploy_gpus.MAX_POOLS,
        base_variable=request.BASE_URL_VARIABLE,
        reference=secret_reference("NAME"),
        secrets_page=SECRETS_PAGE,
        default_start_s=sizing.default_start_seconds(),
    )


def image_page(registry: OptionRegistry) -> str:
    """Return the page about the image."""
    return render_template(
        "image.md.j2",
        arguments=BUILD_ARGUMENTS,
        image=deploy_options.IMAGE,
        version=registry.version,
    )


def sizes_page(_registry: OptionRegistry) -> str:
    """Return the page about sizes and costs, the cheapest profile first."""
    sizes = sorted(find_sizes(), key=lambda size: (size.usd_per_hour or 0.0, size.stored_bytes))
    return render_template(
        "sizes.md.j2",
        sizes=sizes,
        example=next(size for size in sizes if size.profile == EXAMPLE),
        absent=sorted(set(names(builtin_folder())) - {size.profile for size in sizes}),
        formatting=formatting,
        sizing=sizing,
        prices=PRICES_SOURCE,
    )


def find_sizes() -> Iterator[Size]:
    """Yield the size of each profile whose memory is known."""
    for name in names(builtin_folder()):
        target = load_target({}, name)
        problems: list[Problem] = []
        gpus = choose_gpus(target, DeployOptions(), problems)
        stored, disk = sizing.stored_bytes(target), sizing.disk_gb(target, on_volume=False)
        if gpus is None or stored is None or disk is None:
            continue
        yield Size(
            name,
            stored,
            disk,
            gpus.count,
            gpus.pools[0].name,
            next(prices(gpus)).usd_per_hour,
            sizing.requests_per_worker(target, gpus),
            sizing.start_seconds(target),
        )
