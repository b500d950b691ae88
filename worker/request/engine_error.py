"""vLLM's error answers as request errors: its message kept, our stable code and status added."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from worker.errors import RequestError, shorten
from worker.request.call import Call
from worker.request.codes import CODES, Code, fail
from worker.request.envelope import NativeInput
from worker.request.form import find_forms, find_masks
from worker.request.routes import CHAT, COMPLETIONS, Route, find_route
from worker.request.sampling import SamplingParameters

NOT_FOUND = "Not Found"
"""All that vLLM says of a route that it has not for the model that is loaded."""

GAVE_UP = "Internal server error"
"""All that vLLM says of a generation that it could not go on with."""

STUMBLED = (
    "The request does not have the form that vLLM expects; compare it with the schemas in "
    "schemas/requests."
)
"""Instead of a message that speaks of vLLM's own code."""

LONGEST_MESSAGE = 2000
"""Characters of vLLM's message that reach the client."""

LONGEST_READ = 4 * LONGEST_MESSAGE
"""Characters of it, or of a value in it, that are read closely. A message repeats what a request
holds, at any length, so the patterns below meet at most that many. Each of them takes time in
proportion to the text; tests/test_costs.py checks that."""

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
_BY_TEXT: tuple[tuple[re.Pattern[str], Code], ...] = (
    (re.compile(r"maximum context length|max_model_len", re.I), Code.CONTEXT_LENGTH_EXCEEDED),
    (
        re.compile(r"default chat template is no longer|chat_template is not set", re.I),
        Code.CHAT_TEMPLATE_MISSING,
    ),
    (re.compile(r"\AThe model `.*` does not exist", re.S), Code.MODEL_NOT_FOUND),
    (re.compile(r"model does not support [^\n]{1,80} API"), Code.ROUTE_NOT_SERVED),
    (re.compile(r"Failed to load (image|audio|video)"), Code.MEDIA_UNREADABLE),
)
_DEAD = re.compile(r"EngineCore|EngineDead|engine (is )?dead", re.I)
_HEADING = re.compile(r"\A(\d+ validation errors?) for \w+\Z")
_VALUE_ERROR = re.compile(r"\bValue error, ")
_LINK = "For further information visit "
"""What pydantic's own text of an error has beside the error."""
_FINDING_END = re.compile(r", 'input': |, 'ctx': \{")
"""What follows in a finding repeats the input, or holds Python objects."""
_STUMBLE = re.compile(
    r"^'\w+' object |\bobject has no attribute\b|\bNoneType\b|^unhashable type"
    r"|\bgot an unexpected keyword\b|\bindices must be\b|\bnot supported between instances\b"
)
"""How Python, and not vLLM, puts that something had the wrong form."""
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)+)")
"""An option of vLLM's command line; on an endpoint it is the variable of the same name."""
_CLOSINGS = {"[": "]", "{": "}"}
_OPENING = re.compile(r"[\[{]")
_OBJECT = re.compile(r"(?:(?<!\s)\s+)?<[\w.]+ object\b[^<>\n]*>")
"""How Python shows an object that has no better text."""
_SUFFIX = re.compile(r" \(parameter=\w[\w.]*(?:, value=|\)\Z)")
"""Where the end of a message begins that names the parameter."""
_WHOLE_PROMPT = frozenset({"input_text", "input_tokens"})
"""What vLLM calls the prompt of any route in errors about its length."""


def map_engine_error(status: int, body: bytes, call: Call) -> RequestError:
    """Return the error for an answer of vLLM with a status other than 2xx.

    Args:
        status: HTTP status.
        body: Body as received; any content.
        call: The call that was answered.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    return read_error(status, value if isinstance(value, dict) else {}, call)


def read_error(status: int | None, body: Mapping[str, Any], call: Call) -> RequestError:
    """Return the error for an error body, or for an error event within a stream.

    Args:
        status: HTTP status; None takes the one that the body names.
        body: `{"error": {…}}` of OpenAI's or Anthropic's kind, `{"detail": …}`, or anything.
        call: The call that was answered.
    """
    error = body.get("error")
    error = error if isinstance(error, dict) else {}
    text = error.get("message") or body.get("message") or body.get("detail")
    named = error.get("code") if isinstance(error.get("code"), int) else None
    final = status or named or 500
    raw = text if isinstance(text, str) else ""
    route = find_route(call.path.partition("?")[0])
    if route is not None and route.needs and _is_absent(final, raw):
        return _missing_setting(route)
    forms = find_forms(call.body or {})
    if final == 500 and raw == GAVE_UP and forms:
        return _unsatisfiable(forms, call)
    code = _choose_code(final, raw, route)
    entry = CODES[code]
    own = f"{entry.meaning} {entry.remedy}"
    if code is Code.ROUTE_NOT_SERVED:
        own = f"{call.path.partition('?')[0]}: {own}"
    # The text of a server's failure is for its log: it speaks of code, not of the request. And
    # "Not Found" is no help to somebody whose route exists.
    hidden = (final >= 500 and entry.retryable) or raw == NOT_FOUND
    message = own if hidden else clean_message(raw) or own
    family = error.get("type")
    return fail(
        code,
        message,
        _translate_param(error.get("param"), call),
        status=final,
        family=family if isinstance(family, str) else None,
    )


def _is_absent(status: int, text: str) -> bool:
    """Tell whether vLLM does not offer a route, by its answer: unknown, or known but disabled."""
    return (status == 404 and text in {NOT_FOUND, ""}) or status == 403


def _missing_setting(route: Route) -> RequestError:
    return fail(
        Code.ROUTE_NOT_SERVED,
        f"{route.path}: vLLM has this route only with {route.needs} on the endpoint.",
    )


def _unsatisfiable(forms: list[str], call: Call) -> RequestError:
    """Return the error for a form that the output could not keep to; `forms` demand it."""
    names = [_translate_param(name, call) or name for name in forms]
    masks = [_translate_param(name, call) or name for name in find_masks(call.body or {})]
    others = f" and {', '.join(masks)}" if masks else ""
    return fail(
        Code.UNSATISFIABLE_FORM,
        f"{', '.join(names)}: at some point of the output vLLM had no token that fits this form"
        f"{others}; change one of them, or the prompt.",
        names[0],
    )


def clean_message(text: str) -> str:
    """Return vLLM's message without Python notation and needless length."""
    if text.endswith(")") and (suffix := _SUFFIX.search(text)):
        text = text[: suffix.start()]
    lines: list[str] = []
    size = 0
    for line in text.split("\n"):
        if size > LONGEST_READ:
            break
        if line.lstrip().startswith(_LINK):
            continue
        lines.append(shorten(_clean_line(line), LONGEST_READ))
        size += len(lines[-1]) + 1
    text = shorten("\n".join(lines), LONGEST_READ)
    text = _OBJECT.sub("", text)
    text = _OPTION.sub(lambda match: match.group(1).replace("-", "_").upper(), text)
    if _STUMBLE.search(text):
        return STUMBLED
    return shorten(text.strip(), LONGEST_MESSAGE)


def _clean_line(line: str) -> str:
    """Return one line of a message, of any length, without pydantic's and Python's notation."""
    bare = line.strip()
    if bare.startswith("{") and bare.endswith("}"):
        return "  " + _read_finding(bare)
    line = _HEADING.sub(r"\1:", line) if len(line) <= LONGEST_READ else line
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
    """Return the value of a Python literal; None for what is none or too long for an answer."""
    if len(text) > LONGEST_READ:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _read_finding(text: str) -> str:
    """Return one validation finding, which vLLM prints as a Python dict, in words."""
    if end := _FINDING_END.search(text):
        text = text[: end.start()] + "}"
    finding = _read_literal(text)
    if not isinstance(finding, dict):
        return "a field is not valid"
    place = finding.get("loc")
    place = place if isinstance(place, str) else ".".join(str(part) for part in place or ())
    message = _VALUE_ERROR.sub("", str(finding.get("msg", "not valid")))
    return f"{place.removeprefix('body.') or 'body'}: {message}"


def _choose_code(status: int, text: str, route: Route | None) -> Code:
    if len(text) > LONGEST_READ:
        # What vLLM says stands before and after what it repeats of the request.
        text = text[: LONGEST_READ // 2] + text[-LONGEST_READ // 2 :]
    if status >= 500 and _DEAD.search(text):
        return Code.ENGINE_DIED
    if status < 500 or status == 501:
        for pattern, code in _BY_TEXT:
            if pattern.search(text):
                return code
    if status == 404 and text in {NOT_FOUND, ""} and route is not None:
        return Code.ROUTE_NOT_SERVED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return Code.ENGINE_ERROR if status >= 500 else Code.INVALID_REQUEST


def _translate_param(param: object, call: Call) -> str | None:
    """Return the JSON path of the field at fault as the caller knows it."""
    if not isinstance(param, str) or not param:
        return None
    path = param.removeprefix("body.")
    if path in _WHOLE_PROMPT:
        return {CHAT: "messages", COMPLETIONS: "prompt"}.get(call.path, "input")
    if call.shape != "native":
        return path
    head = path.partition(".")[0].partition("[")[0]
    head, path = ("logprobs", "logprobs") if head == "top_logprobs" else (head, path)
    if head in SamplingParameters.model_fields and head not in NativeInput.model_fields:
        return f"sampling_params.{path}"
    return path
