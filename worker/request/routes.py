"""vLLM's HTTP routes: which of them a job may call, and with which method."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from worker.request.codes import Code, request_error
from worker.request.engine_request import Method
from worker.request.json_value import json_type_name
from worker.suggest import did_you_mean, suggest

Access = Literal["open", "closed"]

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
MESSAGES = "/v1/messages"
RESPONSES = "/v1/responses"
COHERE = "/cohere/v2/chat"

MAX_PATH_CHARS = 512
"""Characters of a route; response identifiers are the longest part and stay far below."""

_SEGMENT = re.compile(r"[A-Za-z0-9._~:@-]+\Z")
_QUERY = re.compile(r"[A-Za-z0-9._~:@=&+,-]*\Z")


@dataclass(frozen=True, slots=True)
class Route:
    """One route of vLLM's server.

    Attributes:
        path: Path; a segment in braces stands for any one segment.
        methods: HTTP methods that vLLM has for it.
        access: `closed` needs the setting that opens control routes.
        what: What it does, for the docs.
        needs: Setting without which vLLM does not offer it, then what else; empty if nothing.
    """

    path: str
    methods: tuple[Method, ...]
    access: Access
    what: str
    needs: str = ""


_POST: tuple[Method, ...] = ("POST",)
_GET: tuple[Method, ...] = ("GET",)

_COHERE = "VLLM_ENABLE_COHERE_API=1 and the Python package cohere"
_DEVELOPMENT = "VLLM_SERVER_DEV_MODE=1"
_FAULTS = "ENABLE_FAULT_TOLERANCE=true"
_LORA_UPDATES = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=true"
_PROFILER = "PROFILER_CONFIG"
_SCALE_OUT = "ENABLE_SCALE_OUT=true"
_TOKENIZER_INFO = "ENABLE_TOKENIZER_INFO_ENDPOINT=true"

ROUTES: tuple[Route, ...] = (
    Route(CHAT, _POST, "open", "Chat, streamed or not."),
    Route("/v1/chat/completions/batch", _POST, "open", "Several conversations in one request."),
    Route(COMPLETIONS, _POST, "open", "Text completion, streamed or not."),
    Route(RESPONSES, _POST, "open", "OpenAI's Responses API, streamed or not."),
    Route("/v1/responses/{response_id}", _GET, "open", "A stored response."),
    Route("/v1/responses/{response_id}/cancel", _POST, "open", "Cancels a background response."),
    Route(MESSAGES, _POST, "open", "Anthropic's Messages API, streamed or not."),
    Route("/v1/messages/count_tokens", _POST, "open", "Counts a message's tokens."),
    Route(COHERE, _POST, "open", "Cohere's chat API.", _COHERE),
    Route("/v1/models", _GET, "open", "Names of the model and its adapters."),
    Route("/v1/embeddings", _POST, "open", "Embeddings; needs an embedding model."),
    Route("/v2/embed", _POST, "open", "Cohere's embedding API."),
    Route("/pooling", _POST, "open", "Raw pooled hidden states."),
    Route("/classify", _POST, "open", "Classification; needs a classification model."),
    Route("/score", _POST, "open", "Similarity scores of text pairs."),
    Route("/v1/score", _POST, "open", "Similarity scores of text pairs."),
    Route("/rerank", _POST, "open", "Orders documents by relevance."),
    Route("/v1/rerank", _POST, "open", "Orders documents by relevance."),
    Route("/v2/rerank", _POST, "open", "Orders documents by relevance."),
    Route("/tokenize", _POST, "open", "Converts text or messages to token ids."),
    Route("/detokenize", _POST, "open", "Converts token ids to text."),
    Route("/tokenizer_info", _GET, "open", "The tokenizer's configuration.", _TOKENIZER_INFO),
    Route("/v1/audio/transcriptions", _POST, "open", "Transcribes speech."),
    Route("/v1/audio/translations", _POST, "open", "Translates speech to English text."),
    Route("/v1/systemone", _POST, "open", "Structured decisions."),
    Route("/generative_scoring", _POST, "open", "Scores labels by generation."),
    Route(
        "/v1/chat/completions/render", _POST, "open", "Renders messages as a prompt.", _SCALE_OUT
    ),
    Route("/v1/completions/render", _POST, "open", "Converts a prompt to tokens.", _SCALE_OUT),
    Route(
        "/v1/messages/render", _POST, "open", "Renders Anthropic messages as a prompt.", _SCALE_OUT
    ),
    Route(
        "/v1/responses/render",
        _POST,
        "open",
        "Renders a Responses request as a prompt.",
        _SCALE_OUT,
    ),
    Route(
        "/v1/chat/completions/derender",
        _POST,
        "open",
        "Converts tokens to a chat answer.",
        _SCALE_OUT,
    ),
    Route(
        "/v1/completions/derender", _POST, "open", "Converts tokens to a completion.", _SCALE_OUT
    ),
    Route("/inference/v1/generate", _POST, "open", "Generates tokens from tokens.", _SCALE_OUT),
    Route("/health", _GET, "open", "Whether the engine is healthy."),
    Route("/ping", ("GET", "POST"), "open", "Whether the engine is healthy."),
    Route("/version", _GET, "open", "vLLM's version."),
    Route("/openapi.json", _GET, "open", "OpenAPI description of vLLM's server."),
    Route("/metrics", _GET, "closed", "Metrics of all requests."),
    Route("/load", _GET, "closed", "Requests in flight."),
    Route("/kv_event_sources", _GET, "closed", "Addresses of cache events."),
    Route("/server_info", _GET, "closed", "The server's configuration.", _DEVELOPMENT),
    Route("/invocations", _POST, "closed", "SageMaker's entry; can load adapters."),
    Route("/v1/load_lora_adapter", _POST, "closed", "Loads an adapter.", _LORA_UPDATES),
    Route("/v1/unload_lora_adapter", _POST, "closed", "Unloads an adapter.", _LORA_UPDATES),
    Route("/start_profile", _POST, "closed", "Starts the profiler.", _PROFILER),
    Route("/stop_profile", _POST, "closed", "Stops the profiler.", _PROFILER),
    Route("/reset_prefix_cache", _POST, "closed", "Empties the prefix cache.", _DEVELOPMENT),
    Route("/reset_mm_cache", _POST, "closed", "Empties the multimodal cache.", _DEVELOPMENT),
    Route("/reset_encoder_cache", _POST, "closed", "Empties the encoder cache.", _DEVELOPMENT),
    Route("/collective_rpc", _POST, "closed", "Calls its workers.", _DEVELOPMENT),
    Route("/sleep", _POST, "closed", "Puts the engine to sleep.", _DEVELOPMENT),
    Route("/wake_up", _POST, "closed", "Wakes the engine.", _DEVELOPMENT),
    Route("/is_sleeping", _GET, "closed", "Whether the engine sleeps.", _DEVELOPMENT),
    Route("/release_kv_cache_memory", _POST, "closed", "Frees the key-value cache.", _DEVELOPMENT),
    Route("/scale_elastic_ep", _POST, "closed", "Changes the number of engines."),
    Route("/is_scaling_elastic_ep", _POST, "closed", "Whether the number is changing."),
    Route("/fault_tolerance/apply", _POST, "closed", "Fault handling of the engine.", _FAULTS),
    Route("/fault_tolerance/status", _GET, "closed", "Fault state of the engine.", _FAULTS),
    Route("/abort_requests", _POST, "closed", "Aborts requests of all users.", _SCALE_OUT),
    Route(
        "/inference/v1/abort_requests", _POST, "closed", "Aborts requests of all users.", _SCALE_OUT
    ),
    Route("/pause", _POST, "closed", "Pauses generation.", _DEVELOPMENT),
    Route("/resume", _POST, "closed", "Resumes generation.", _DEVELOPMENT),
    Route("/is_paused", _GET, "closed", "Whether generation is paused.", _DEVELOPMENT),
    Route("/init_weight_transfer_engine", _POST, "closed", "Replaces weights.", _DEVELOPMENT),
    Route("/shutdown_weight_transfer_engine", _POST, "closed", "Replaces weights.", _DEVELOPMENT),
    Route("/start_weight_update", _POST, "closed", "Replaces weights.", _DEVELOPMENT),
    Route("/start_draft_weight_update", _POST, "closed", "Replaces weights.", _DEVELOPMENT),
    Route("/update_weights", _POST, "closed", "Replaces weights.", _DEVELOPMENT),
    Route("/finish_weight_update", _POST, "closed", "Replaces weights.", _DEVELOPMENT),
    Route("/update_weight_version", _POST, "closed", "Replaces weights.", _DEVELOPMENT),
    Route("/weight_info", _GET, "closed", "State of the weights.", _DEVELOPMENT),
    Route("/weight_checker", _POST, "closed", "Compares weights.", _DEVELOPMENT),
    Route("/get_world_size", _GET, "closed", "Number of the engine's workers.", _DEVELOPMENT),
)
"""All HTTP routes of the pinned vLLM; a test compares them with the captured ones."""

_SLASHES = re.compile("(?<!:)/{2,}")
_EXACT = {route.path: route for route in ROUTES if "{" not in route.path}
_PATTERNS = [
    (re.compile(re.sub(r"\{\w+\}", "[^/]+", route.path) + r"\Z"), route)
    for route in ROUTES
    if "{" in route.path
]


def find_route(path: str) -> Route | None:
    """Return the route that a plain path leads to, or None."""
    exact = _EXACT.get(path)
    if exact is not None:
        return exact
    return next((route for pattern, route in _PATTERNS if pattern.match(path)), None)


def find_path(text: str) -> str:
    """Return the path of the route that a client's path leads to; a cleaned path if to none.

    Args:
        text: With or without `/openai`, `/v1` and a query string.
    """
    path = _strip(text.partition("?")[0])
    if find_route(path) is None and find_route(f"/v1{path}") is not None:
        return f"/v1{path}"
    return path


def resolve_route(
    text: object, method: object, *, has_body: bool, open_control: bool, param: str
) -> tuple[Method, str, Route]:
    """Resolve the route of a job.

    Args:
        text: Route as the job has it, with or without `/v1`, with or without leading slash.
        method: HTTP method as the job has it; None infers it from route and body.
        has_body: Whether the job has a body.
        open_control: Whether closed routes may be called.
        param: JSON path of the route in the job, for errors.

    Returns:
        Method, path with query string, and the route.

    Raises:
        RequestError: Not a plain path, unknown, closed, or not with this method.
    """
    path, query = _split(text, param)
    route = find_route(path) or find_route(f"/v1{path}")
    if route is None:
        known = [r.path for r in ROUTES if r.access == "open" or open_control]
        near = did_you_mean(suggest(path, known) or suggest(f"/v1{path}", known))
        raise request_error(
            Code.UNKNOWN_ROUTE,
            f"{param}: no route {path[:80]!r} in this version of vLLM.{near} "
            "docs/requests.md lists all routes.",
            param,
        )
    if find_route(path) is None:
        path = f"/v1{path}"
    if route.access == "closed" and not open_control:
        raise request_error(
            Code.ROUTE_CLOSED,
            f"{param}: {route.path} controls or inspects the server and is closed to jobs. "
            "The endpoint's owner can open control routes with OPEN_CONTROL_ROUTES=true.",
            param,
        )
    chosen = _choose_method(route, method, has_body=has_body)
    return chosen, path + query, route


def _split(text: object, param: str) -> tuple[str, str]:
    """Return path and query string (with its `?`) of a route that is a plain path."""
    if not isinstance(text, str):
        raise request_error(
            Code.INVALID_ROUTE, f"{param}: expected a path, got {json_type_name(text)}", param
        )
    path, mark, query = text.strip().partition("?")
    path = _strip(path)
    segments = path.split("/")[1:]
    plain = all(_SEGMENT.match(part) and set(part) != {"."} for part in segments)
    if not plain or len(text) > MAX_PATH_CHARS or not _QUERY.match(query):
        raise request_error(
            Code.INVALID_ROUTE,
            f"{param}: expected a plain path such as /v1/chat/completions, got {text[:80]!r}",
            param,
        )
    return path, mark + query if query else ""


def _strip(path: str) -> str:
    # A base URL that ends with a slash gives two of them.
    path = "/" + _SLASHES.sub("/", path).strip("/")
    return path.removeprefix("/openai") if path.startswith("/openai/") else path


def _choose_method(route: Route, method: Any, *, has_body: bool) -> Method:
    """Return the method to use; an absent one follows from the route and the body."""
    if method is None:
        if len(route.methods) == 1:
            return route.methods[0]
        return "POST" if has_body else "GET"
    wanted = method.upper() if isinstance(method, str) else None
    for known in route.methods:
        if known == wanted:
            return known
    allowed = " or ".join(route.methods)
    got = repr(method[:16]) if isinstance(method, str) else json_type_name(method)
    raise request_error(
        Code.METHOD_NOT_ALLOWED,
        f"method: {route.path} takes {allowed}, got {got}",
        "method",
        allowed_methods=list(route.methods),
    )
