"""Addresses of an endpoint: its page in the console, the base URL for clients, a first request."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from worker_tools.deploy.api import Endpoint
from worker_tools.deploy.plan import Deployment

CONSOLE = "https://console.runpod.io/serverless/user/endpoint/{id}"
QUEUE_BASE = "https://api.runpod.ai/v2/{id}/openai/v1"
LOAD_BALANCER = "https://{id}.api.runpod.ai"

FIRST_REQUESTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "generate": ("/chat/completions", {"messages": [{"role": "user", "content": "Hello!"}]}),
    "embed": ("/embeddings", {"input": "Hello!"}),
    "rerank": ("/rerank", {"query": "Which is a fruit?", "documents": ["apple", "stone"]}),
}
"""A first request for a task. For other tasks it is the list of models."""


def console_url(endpoint_id: str) -> str:
    """Return the endpoint's page in RunPod's console."""
    return CONSOLE.format(id=endpoint_id)


def base_url(deployment: Deployment, endpoint: Endpoint) -> str:
    """Return the `base_url` for OpenAI's clients."""
    if deployment.mode == "queue":
        return QUEUE_BASE.format(id=endpoint.id)
    return (endpoint.base_url or LOAD_BALANCER.format(id=endpoint.id)).rstrip("/") + "/v1"


def first_request(deployment: Deployment, endpoint: Endpoint) -> str:
    """Return a command that sends a first request; the shell inserts the key."""
    settings = deployment.target.settings
    task = "generate" if settings.profile is None else settings.profile.about.task
    base = base_url(deployment, endpoint)
    key = '-H "Authorization: Bearer $RUNPOD_API_KEY"'
    if task not in FIRST_REQUESTS:
        return f"curl {base}/models \\\n  {key}"
    path, body = FIRST_REQUESTS[task]
    data = shlex.quote(json.dumps({"model": settings.model.served_name, **body}))
    return f"curl {base}{path} \\\n  {key} -H 'Content-Type: application/json' \\\n  -d {data}"
