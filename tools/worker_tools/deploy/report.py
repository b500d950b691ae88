"""Print a planned or created endpoint as text, or describe it as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from worker.console import problem_data
from worker.profile.pools import PRICES_SOURCE
from worker.sizing import formatting
from worker_tools.deploy import sizing
from worker_tools.deploy.address import base_url, console_url, first_request
from worker_tools.deploy.api import Endpoint
from worker_tools.deploy.gpus import prices
from worker_tools.deploy.plan import Deployment
from worker_tools.deploy.request import endpoint_body, endpoints_url

KIND = {"queue": "a queue endpoint", "load-balancer": "a load-balancing endpoint"}


def print_deployment(deployment: Deployment, out: Console) -> None:
    """Print the planned endpoint and its costs."""
    out.print(
        f"[bold]{escape(deployment.name)}[/bold]: {KIND[deployment.mode]} for "
        f"{escape(deployment.target.label)}",
        soft_wrap=True,
    )
    for heading, rows in (
        ("Container", _container(deployment)),
        ("Endpoint", _endpoint(deployment)),
        ("Cost", _cost(deployment)),
    ):
        out.print(f"\n[bold]{heading}[/bold]")
        for label, value in rows:
            out.print(f"  {label:<13}{escape(value)}", soft_wrap=True)
    for warning in deployment.warnings:
        out.print(f"\n[yellow]Warning:[/yellow] {escape(str(warning))}", soft_wrap=True)


def print_dry_run(out: Console) -> None:
    """Print the next step after a dry run."""
    out.print(
        "\nNothing was created. To create it, add --execute and set the API key in "
        "RUNPOD_API_KEY. --json shows the exact requests.",
        soft_wrap=True,
    )


def print_endpoint(deployment: Deployment, endpoint: Endpoint, out: Console) -> None:
    """Print the address of the endpoint and a first request."""
    out.print(f"\n[bold green]Created[/bold green] endpoint {escape(endpoint.id)}")
    out.print(f"  console      {escape(console_url(endpoint.id))}", soft_wrap=True)
    out.print(f"  base URL     {escape(base_url(deployment, endpoint))}", soft_wrap=True)
    out.print("\nThe first request starts a worker:\n")
    out.print(first_request(deployment, endpoint), markup=False, soft_wrap=True)
    if deployment.options.network_volume is None:
        out.print(
            f"\nTo avoid paying for the download, choose {deployment.target.label} as the "
            "endpoint's Model in the console: RunPod then fetches it before it starts a worker. "
            "The API cannot set that. A model in the image needs no download.",
            markup=False,
            soft_wrap=True,
        )


def deployment_data(deployment: Deployment, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the exact requests, without the key, with prices and warnings."""
    url = endpoints_url(environ)
    headers = {"Authorization": "Bearer $RUNPOD_API_KEY"}
    typed = {**headers, "Content-Type": "application/json"}
    body = endpoint_body(deployment)
    return {
        "ok": True,
        "requests": [
            {"method": "GET", "url": url, "headers": headers},
            {"method": "POST", "url": url, "headers": typed, "body": body},
        ],
        "prices": [
            {"pool": price.pool, "usd_per_worker_hour": price.usd_per_hour}
            for price in prices(deployment.gpus)
        ],
        "warnings": [problem_data(warning) for warning in deployment.warnings],
        "endpoint": None,
    }


def endpoint_data(deployment: Deployment, endpoint: Endpoint) -> dict[str, str]:
    """Return where the endpoint is."""
    return {
        "id": endpoint.id,
        "name": deployment.name,
        "console_url": console_url(endpoint.id),
        "base_url": base_url(deployment, endpoint),
        "first_request": first_request(deployment, endpoint),
    }


def _container(deployment: Deployment) -> Iterator[tuple[str, str]]:
    yield "image", deployment.image
    if deployment.options.disk is not None:
        why = ""
    elif deployment.options.network_volume is not None:
        why = "; the model goes to the volume"
    else:
        stored = sizing.stored_bytes(deployment.target) or 0
        why = f": {formatting.gib(stored)} of weights, plus space for caches and logs"
    yield "disk", f"{deployment.disk_gb} GB{why}"
    for number, (name, value) in enumerate(deployment.variables.items()):
        yield "" if number else "variables", f"{name}={value}"
    if deployment.ports:
        yield "ports", ", ".join(f"{port}, HTTP" for port in deployment.ports)


def _endpoint(deployment: Deployment) -> Iterator[tuple[str, str]]:
    options, gpus = deployment.options, deployment.gpus
    pools = [f"{pool.name} ({', '.join(pool.gpus)})" for pool in gpus.pools]
    yield "GPUs", f"{gpus.count} x {', else '.join(pools)}"
    yield "CUDA", f"{deployment.cuda} or newer"
    yield "workers", f"{options.workers_min} to {options.workers_max}"
    yield "scaling", _scaling(deployment)
    idle = deployment.scaling.idle_s
    yield "idle", "RunPod decides" if idle is None else f"{idle} s after the last request"
    limits = f"{deployment.execution_s} s for a request, {deployment.start_s} s for a start"
    yield "time limits", limits
    yield "FlashBoot", "on" if options.flashboot else "off"
    if options.network_volume is not None:
        yield "volume", f"{options.network_volume}, and only in its data center"


def _scaling(deployment: Deployment) -> str:
    scaling = deployment.scaling
    if not scaling.by_requests:
        return f"another worker when a job waits {scaling.value:g} s"
    known = deployment.options.scale_value is None and deployment.gpus.placements
    why = f": its cache holds as many of {sizing.PLANNED_TOKENS:,} tokens" if known else ""
    return f"a worker for every {scaling.value:g} requests{why}"


def _cost(deployment: Deployment) -> Iterator[tuple[str, str]]:
    options = deployment.options
    known = []
    for number, price in enumerate(prices(deployment.gpus)):
        amount = (
            formatting.price(price.usd_per_hour) if price.usd_per_hour else "no published price"
        )
        known.append(price.usd_per_hour)
        yield "" if number else "one worker", f"{amount} on {price.pool}"
    always = "nothing while no worker runs"
    if options.workers_min and known[0] is not None:
        price_of_all = formatting.price(known[0] * options.workers_min)
        always = f"{price_of_all} on {deployment.gpus.pools[0].name}, at the flex price"
    elif options.workers_min:
        always = f"{options.workers_min} workers"
    yield "always", always
    if None not in known:
        most = max(price for price in known if price is not None) * options.workers_max
        yield (
            "at most",
            f"{formatting.price(most)}: {options.workers_max} on the most expensive pool",
        )
    yield "", f"flex workers, as read in 2026; today's prices: {PRICES_SOURCE}"
