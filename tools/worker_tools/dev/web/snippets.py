"""A request as code to paste: curl, Python, JavaScript; for the local address and for RunPod's."""

from __future__ import annotations

import functools
import json
import pprint
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from worker_tools.dev.reply import ApiError

TEMPLATES = Path(__file__).parent / "templates"
LANGUAGES: Mapping[str, str] = {
    "curl": "curl.sh.j2",
    "openai": "openai.py.j2",
    "runpod": "runpod.py.j2",
    "javascript": "javascript.js.j2",
}

RUNPOD_URL = "https://api.runpod.ai/v2"
ENDPOINT = "YOUR_ENDPOINT_ID"


@dataclass(frozen=True, slots=True)
class Method:
    """A method of OpenAI's Python client, with those of vLLM's parameters that it takes."""

    name: str
    arguments: frozenset[str]


_BOTH = (
    "model frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop stream "
    "stream_options temperature top_p user"
)
METHODS: Mapping[str, Method] = {
    "/v1/chat/completions": Method(
        "chat.completions.create",
        frozenset(
            f"{_BOTH} messages max_completion_tokens parallel_tool_calls reasoning_effort "
            "response_format tool_choice tools top_logprobs".split()
        ),
    ),
    "/v1/completions": Method(
        "completions.create", frozenset(f"{_BOTH} prompt echo suffix".split())
    ),
    "/v1/embeddings": Method(
        "embeddings.create",
        frozenset(("model", "input", "dimensions", "encoding_format", "user")),
    ),
}
"""By route; a test compares the arguments with the installed client."""

EXTRA = "extra_body"
"""The argument of OpenAI's client for what only vLLM knows."""


@functools.cache
def environment() -> jinja2.Environment:
    """Return the templates; the page's own are escaped for HTML, those of code are not."""
    loaded = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=jinja2.select_autoescape(("html.j2",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    loaded.filters |= {"shell": shlex.quote, "python": to_python, "json": to_json}
    return loaded


def to_python(value: Any, indent: int = 0) -> str:
    """Return a value as a Python literal."""
    text = pprint.pformat(value, width=88 - indent, sort_dicts=False)
    return text.replace("\n", "\n" + " " * indent)


def to_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON, which is also JavaScript."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def write_snippets(job_input: Any, base: str, *, on_runpod: bool) -> dict[str, str | None]:
    """Return a request as code in each language; None where a client has no such request.

    Args:
        job_input: The job's input: native, or a route with its body.
        base: URL of the local endpoint.
        on_runpod: Write RunPod's address and key.

    Raises:
        ApiError: 400, the input is not an object.
    """
    if not isinstance(job_input, dict) or not job_input:
        raise ApiError(400, "the input of the job has to be a JSON object")
    route, body = job_input.get("openai_route"), job_input.get("openai_input")
    is_openai = isinstance(route, str) and isinstance(body, dict)
    request: Any = body if is_openai else job_input
    root, _, endpoint = base.rpartition("/")
    method = METHODS.get(_with_version(str(route))) if is_openai else None
    values = {
        "base": f"{RUNPOD_URL}/{ENDPOINT}" if on_runpod else base,
        "root": RUNPOD_URL if on_runpod else root,
        "endpoint": ENDPOINT if on_runpod else endpoint,
        "on_runpod": on_runpod,
        "input": job_input,
        "route": _with_version(str(route)) if is_openai else None,
        "body": body if is_openai else None,
        "streams": request.get("stream") is True,
        "method": method and method.name,
        "call": _split(method, body),
    }
    return {
        language: None
        if language == "openai" and method is None
        else environment().get_template(f"snippets/{template}").render(values)
        for language, template in LANGUAGES.items()
    }


def _with_version(route: str) -> str:
    path = "/" + route.strip("/")
    return path if path.startswith("/v1/") else f"/v1{path}"


def _split(method: Method | None, body: Any) -> dict[str, Any]:
    """Return the arguments of OpenAI's client, which rejects names that it does not know."""
    if method is None:
        return {}
    known = {name: value for name, value in body.items() if name in method.arguments}
    extra = {name: value for name, value in body.items() if name not in method.arguments}
    return {**known, EXTRA: extra} if extra else known
