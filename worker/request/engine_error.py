"""Converts vLLM's error responses to request errors with the worker's stable codes."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from worker.errors import RequestError, shorten
from worker.request.codes import ERROR_SPECS, Code, request_error
from worker.request.engine_request import EngineRequest
from worker.request.job_input import NativeInput
from worker.request.routes import CHAT, COMPLETIONS, Route, find_route
from worker.request.sampling import SamplingParameters
from worker.request.structured_output import structured_constraints, token_constraints

NOT_FOUND = "Not Found"
"""vLLM's message for a route that the loaded model does not support."""

VLLM_INTERNAL_ERROR = "Internal server error"
"""vLLM's message for a generation that failed for any internal reason."""

GENERIC_REQUEST_ERROR = (
    "vLLM could not parse the request body. See the parameters of this route in docs/requests.md."
)
"""Replaces a message that names vLLM's own code."""

MAX_MESSAGE_CHARS = 2000
"""Characters of vLLM's message that reach the client."""

MAX_READ_CHARS = 4 * MAX_MESSAGE_CHARS
"""Characters of the message, or of a value in it, that are parsed. A message can quote a request of
any length. The patterns below take time in proportion to the text; tests/test_costs.py checks."""

_BY_STATUS: dict[int, Code] = {
    403: Code.ROUTE_CLOSED,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.RESULT_TOO_LARGE,
    422: Code.MEDIA_UNREADABLE,
    429: Code.ENGINE_OVERLOADED,
    501: Code.NOT_IMPLEMENTED,
    503: Code.ENGINE_OVERLOADED,
    504: Code.ENGINE_TIMEOUT,
}
TEXT_PATTERNS: tuple[tuple[re.Pattern[str], Code], ...] = (
    (re.compile(r"maximum context length|max_model_len", re.I), Code.CONTEXT_LENGTH_EXCEEDED),
    (
        re.compile(r"default chat template is no longer|chat_template is not set", re.I),
        Code.CHAT_TEMPLATE_MISSING,
    ),
    (re.compile(r"\AThe model `.*` does not exist", re.S), Code.MODEL_NOT_FOUND),
    (re.compile(r"\AThe adapter `.*` cannot be used", re.S), Code.ADAPTER_UNUSABLE),
    (re.compile(r"\AThe adapter `.*` could not be fetched", re.S), Code.ADAPTER_UNAVAILABLE),
    (re.compile(r"model does not support [^\n]{1,80} API"), Code.ROUTE_NOT_SERVED),
    (re.compile(r"Failed to load (image|audio|video)"), Code.MEDIA_UNREADABLE),
)
_ABOUT_MODEL = frozenset({Code.MODEL_NOT_FOUND, Code.ADAPTER_UNUSABLE, Code.ADAPTER_UNAVAILABLE})
"""Codes whose `param` is the model."""
_DEAD = re.compile(r"EngineCore|EngineDead|engine (is )?dead", re.I)
_HEADING = re.compile(r"\A(\d+ validation errors?) for \w+\Z")
_VALUE_ERROR = re.compile(r"\bValue error, ")
_LINK = "For further information visit "
"""Start of the link in pydantic's text of an error."""
_VALIDATION_ERROR_END = re.compile(r", 'input': |, 'ctx': \{")
"""Start of the part of an error that repeats the input or holds Python objects."""
_PYTHON_ERROR = re.compile(
    r"^'\w+' object |\bobject has no attribute\b|\bNoneType\b|^unhashable type"
    r"|\bgot an unexpected keyword\b|\bindices must be\b|\bnot supported between instances\b"
)
"""Messages of Python exceptions that a value of the wrong type causes."""
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)+)")
"""An option of vLLM's command line; on an endpoint it is the variable of the same name."""
_CLOSINGS = {"[": "]", "{": "}"}
_OPENING = re.compile(r"[\[{]")
_OBJECT = re.compile(r"(?:(?<!\s)\s+)?<[\w.]+ object\b[^<>\n]*>")
"""Python's default representation of an object."""
_SUFFIX = re.compile(r" \(parameter=\w[\w.]*(?:, value=|\)\Z)")
"""Start of the suffix of a message that names the parameter."""
_WHOLE_PROMPT = frozenset({"input_text", "input_tokens"})
"""vLLM's names for the prompt of any route, in errors about its length."""


def map_engine_error(status: int, body: bytes, request: EngineRequest) -> RequestError:
    """Return the error for a response of vLLM with a status other than 2xx.

    Args:
        status: HTTP status.
        body: Body as received; any content.
        request: The request that was answered.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    return read_error(status, value if isinstance(value, dict) else {}, request)


def read_error(status: int | None, body: Mapping[str, Any], request: EngineRequest) -> RequestError:
    """Return the error for an error body, or for an error event within a stream.

    Args:
        status: HTTP status; None means the one in the body.
        body: `{"error": {…}}` of OpenAI's or Anthropic's kind, `{"detail": …}`, or anything.
        request: The request that was answered.
    """
    error = body.get("error")
    error = error if isinstance(error, dict) else {}
    text = error.get("message") or body.get("message") or body.get("detail")
    named = error.get("code") if isinstance(error.get("code"), int) else None
    final = status or named or 500
    raw = text if isinstance(text, str) else ""
    route = find_route(request.path.partition("?")[0])
    if route is not None and route.needs and _is_absent(final, raw):
        return _missing_setting(route)
    constraints = structured_constraints(request.body or {})
    if final == 500 and raw == VLLM_INTERNAL_ERROR and constraints:
        return _unsatisfiable_constraints(constraints, request)
    code = _choose_code(final, raw, route)
    spec = ERROR_SPECS[code]
    own = f"{spec.meaning} {spec.remedy}"
    if code is Code.ROUTE_NOT_SERVED:
        own = f"{request.path.partition('?')[0]}: {own}"
    # A server error's text describes code, not the request, and belongs in the log. "Not Found"
    # does not help a caller whose route exists.
    hidden = final >= 500 and spec.retryable and code is not Code.ADAPTER_UNAVAILABLE
    hidden = hidden or raw == NOT_FOUND
    message = own if hidden else clean_message(raw) or own
    family = error.get("type")
    param = error.get("param") or ("model" if code in _ABOUT_MODEL else None)
    return request_error(
        code,
        message,
        _translate_param(param, request),
        status=final,
        family=family if isinstance(family, str) else None,
    )


def _is_absent(status: int, text: str) -> bool:
    """Return whether vLLM's response means that it does not serve the route."""
    return (status == 404 and text in {NOT_FOUND, ""}) or status == 403


def _missing_setting(route: Route) -> RequestError:
    return request_error(
        Code.ROUTE_NOT_SERVED,
        f"{route.path}: this route needs {route.needs} on the endpoint.",
    )


def _unsatisfiable_constraints(constraints: list[str], request: EngineRequest) -> RequestError:
    """Return the error for an output that could not satisfy these structured constraints."""
    names = [_translate_param(name, request) or name for name in constraints]
    limits = [
        _translate_param(name, request) or name for name in token_constraints(request.body or {})
    ]
    others = f" and {', '.join(limits)}" if limits else ""
    return request_error(
        Code.UNSATISFIABLE_CONSTRAINTS,
        f"{', '.join(names)}: no next token satisfies this constraint{others}; change one of them, "
        "or the prompt.",
        names[0],
    )


def clean_message(text: str) -> str:
    """Return vLLM's message without Python notation, shortened."""
    if text.endswith(")") and (suffix := _SUFFIX.search(text)):
        text = text[: suffix.start()]
    lines: list[str] = []
    size = 0
    for line in text.split("\n"):
        if size > MAX_READ_CHARS:
            break
        if line.lstrip().startswith(_LINK):
            continue
        lines.append(shorten(_clean_line(line), MAX_READ_CHARS))
        size += len(lines[-1]) + 1
    text = shorten("\n".join(lines), MAX_READ_CHARS)
    text = _OBJECT.sub("", text)
    text = _OPTION.sub(lambda match: match.group(1).replace("-", "_").upper(), text)
    if _PYTHON_ERROR.search(text):
        return GENERIC_REQUEST_ERROR
    return shorten(text.strip(), MAX_MESSAGE_CHARS)


def _clean_line(line: str) -> str:
    """Return one line of a message, of any length, without pydantic's and Python's notation."""
    bare = line.strip()
    if bare.startswith("{") and bare.endswith("}"):
        return "  " + _read_validation_error(bare)
    line = _HEADING.sub(r"\1:", line) if len(line) <= MAX_READ_CHARS else line
    if line.endswith("]"):
        line = line.partition(" [type=")[0]
    return _rewrite_literals(_VALUE_ERROR.sub("", line))


def _rewrite_literals(line: str) -> str:
    """Return a line with its Python lists as JSON, and without Python objects.

    The names in an object are vLLM's own.
    """
    ends = {opening: line.rfind(closing) for opening, closing in _CLOSINGS.items()}
    kept: list[str] = []
    start = position = 0
    while found := _OPENING.search(line, position):
        position = found.end()
        end = ends[found.group()]
        if end < position:
            continue
        before = line[start : found.start()]
        value = _read_literal(line[found.start() : end + 1])
        if value is None:
            kept += [before, line[found.start() : end + 1]]
        elif isinstance(value, dict):
            kept.append(before.removesuffix(": "))
        else:
            kept += [before, json.dumps(value, ensure_ascii=False, default=str)]
        start = position = end + 1
    return "".join(kept) + line[start:]


def _read_literal(text: str) -> Any:
    """Return the value of a Python literal; None if it is not one or too long."""
    if len(text) > MAX_READ_CHARS:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _read_validation_error(text: str) -> str:
    """Return the text of one validation error, which vLLM prints as a Python dict."""
    if end := _VALIDATION_ERROR_END.search(text):
        text = text[: end.start()] + "}"
    details = _read_literal(text)
    if not isinstance(details, dict):
        return "a field is not valid"
    place = details.get("loc")
    place = place if isinstance(place, str) else ".".join(str(part) for part in place or ())
    message = _VALUE_ERROR.sub("", str(details.get("msg", "not valid")))
    return f"{place.removeprefix('body.') or 'body'}: {message}"


def _choose_code(status: int, text: str, route: Route | None) -> Code:
    if len(text) > MAX_READ_CHARS:
        # The message of vLLM surrounds the text that it quotes from the request.
        text = text[: MAX_READ_CHARS // 2] + text[-MAX_READ_CHARS // 2 :]
    if status >= 500 and _DEAD.search(text):
        return Code.ENGINE_DIED
    if status < 500 or status in (501, 503):
        for pattern, code in TEXT_PATTERNS:
            if pattern.search(text):
                return code
    if status == 404 and text in {NOT_FOUND, ""} and route is not None:
        return Code.ROUTE_NOT_SERVED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Code.ENGINE_ERROR if status >= 500 else Code.INVALID_REQUEST


def _translate_param(param: object, request: EngineRequest) -> str | None:
    """Return the JSON path of the field at fault in the caller's request."""
    if not isinstance(param, str) or not param:
        return None
    path = param.removeprefix("body.")
    if path in _WHOLE_PROMPT:
        return {CHAT: "messages", COMPLETIONS: "prompt"}.get(request.path, "input")
    if request.shape != "native":
        return path
    head = path.partition(".")[0].partition("[")[0]
    head, path = ("logprobs", "logprobs") if head == "top_logprobs" else (head, path)
    if head in SamplingParameters.model_fields and head not in NativeInput.model_fields:
        return f"sampling_params.{path}"
    return path
