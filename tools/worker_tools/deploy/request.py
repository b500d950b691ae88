"""The request that creates an endpoint, as RunPod's REST API v2 takes it.

The `runpod` package is not used. Version 1.12.0 creates endpoints through the GraphQL API, which
RunPod retires in early 2027 (REST v1: 15 November 2026). RunPod recommends v2 for new integrations
(https://docs.runpod.io/release-notes, 18 August 2026). The package's `create_endpoint` has no
argument for a load balancer, the minimum CUDA version and the execution timeout, and does not
escape the values in its query. In v2, one request creates container and endpoint, and a failure
leaves no template.

Source of all shapes: https://docs.runpod.io/api-reference-v2/openapi.json, `CreateEndpointRequest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from worker_tools.deploy.plan import Deployment

BASE_URL = "https://api.runpod.io"
BASE_URL_VARIABLE = "RUNPOD_API_BASE_URL"
"""The same variable as in the `runpod` package."""

ENDPOINTS = "/v2/serverless"


def endpoints_url(environ: Mapping[str, str]) -> str:
    """Return the address of all endpoints of an account."""
    return environ.get(BASE_URL_VARIABLE, BASE_URL).rstrip("/") + ENDPOINTS


def endpoint_body(deployment: Deployment) -> dict[str, Any]:
    """Return the body of the request that creates an endpoint."""
    options = deployment.options
    body: dict[str, Any] = {
        "name": deployment.name,
        "type": "QUEUE" if deployment.mode == "queue" else "LOAD_BALANCER",
        "image": deployment.image,
        "disk": deployment.disk_gb,
        "env": dict(deployment.variables),
        "gpu": {
            "pools": [pool.name for pool in deployment.gpus.pools],
            "count": deployment.gpus.count,
            "minCudaVersion": deployment.cuda,
        },
        "workers": _workers(deployment),
        "scaling": _scaling(deployment),
        "timeout": deployment.execution_s * 1000,
        "flashboot": "FLASHBOOT" if options.flashboot else "OFF",
    }
    if deployment.ports:
        body["ports"] = [f"{port}/http" for port in deployment.ports]
    if options.registry is not None:
        body["registry"] = options.registry
    if options.network_volume is not None:
        body["networkVolumes"] = [options.network_volume]
    return body


def _workers(deployment: Deployment) -> dict[str, int]:
    options = deployment.options
    workers = {"min": options.workers_min, "max": options.workers_max}
    if deployment.scaling.idle_s is not None:
        workers["idleTimeout"] = deployment.scaling.idle_s
    return workers


def _scaling(deployment: Deployment) -> dict[str, Any]:
    scaling = deployment.scaling
    if scaling.by_requests:
        return {"type": "REQUEST_COUNT", "requestCount": int(scaling.value)}
    return {"type": "QUEUE_DELAY", "queueDelay": scaling.value}
