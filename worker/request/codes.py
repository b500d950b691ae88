"""Stable codes of request errors: one table, from which errors are made and documented."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from typing import Any

from worker.errors import RequestError, shorten

LONGEST_MESSAGE = 4000
"""Characters of an error's message; what is wrong can be of any size."""

LONGEST_PARAM = 250
"""Characters of an error's `param`."""


class Code(enum.StrEnum):
    """What a client's program may compare `error.code` with; a published value never changes."""

    INVALID_JOB_INPUT = "invalid_job_input"
    INVALID_JSON_VALUE = "invalid_json_value"
    INPUT_TOO_DEEP = "input_too_deep"
    MISSING_PARAMETER = "missing_parameter"
    INVALID_PARAMETER = "invalid_parameter"
    UNKNOWN_PARAMETER = "unknown_parameter"
    MISPLACED_PARAMETER = "misplaced_parameter"
    REMOVED_PARAMETER = "removed_parameter"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    CONFLICTING_PARAMETERS = "conflicting_parameters"
    INVALID_ROUTE = "invalid_route"
    UNKNOWN_ROUTE = "unknown_route"
    ROUTE_CLOSED = "route_closed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    ROUTE_NOT_SERVED = "route_not_served"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    CHAT_TEMPLATE_MISSING = "chat_template_missing"
    UNSATISFIABLE_FORM = "unsatisfiable_form"
    GRAMMAR_TOO_LARGE = "grammar_too_large"
    INVALID_REQUEST = "invalid_request"
    INVALID_API_KEY = "invalid_api_key"
    REQUEST_TIMEOUT = "request_timeout"
    MEDIA_UNREADABLE = "media_unreadable"
    NOT_IMPLEMENTED = "not_implemented"
    RESULT_TOO_LARGE = "result_too_large"
    RESULT_REFUSED = "result_refused"
    ENGINE_OVERLOADED = "engine_overloaded"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    ENGINE_DIED = "engine_died"
    ENGINE_TIMEOUT = "engine_timeout"
    ENGINE_ERROR = "engine_error"
    WORKER_STOPPING = "worker_stopping"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one code.

    Attributes:
        status: HTTP status that the error stands for.
        type: OpenAI's error family.
        meaning: What went wrong, one sentence.
        remedy: What the caller does next, one sentence.
        retryable: True if the same request may succeed later or on another worker.
    """

    status: int
    type: str
    meaning: str
    remedy: str
    retryable: bool = False


_CALLER = "invalid_request_error"
_ABSENT = "not_found_error"
_DENIED = "permission_error"
_SERVER = "server_error"

CODES: dict[Code, Entry] = {
    Code.INVALID_JOB_INPUT: Entry(
        400,
        _CALLER,
        "The job's input has none of the accepted shapes, or mixes two of them.",
        "Send one of the shapes that the message lists.",
    ),
    Code.INVALID_JSON_VALUE: Entry(
        400,
        _CALLER,
        "The input holds a value that JSON cannot carry on: NaN, infinity, an integer beyond "
        "64 bits, half of a surrogate pair, or text that is not UTF-8.",
        "Send finite numbers and well-formed Unicode text.",
    ),
    Code.INPUT_TOO_DEEP: Entry(
        400,
        _CALLER,
        "Objects and arrays of the input nest too deeply.",
        "Flatten the value that `param` names.",
    ),
    Code.MISSING_PARAMETER: Entry(
        400,
        _CALLER,
        "A required field is absent or empty.",
        "Add the field that `param` names.",
    ),
    Code.INVALID_PARAMETER: Entry(
        400,
        _CALLER,
        "A field has the wrong type or lies outside its bounds.",
        "Send a value as the message describes; types are not converted.",
    ),
    Code.UNKNOWN_PARAMETER: Entry(
        400,
        _CALLER,
        "A field's name is not known, most often a misspelling.",
        "Use the name that the message suggests, or remove the field.",
    ),
    Code.MISPLACED_PARAMETER: Entry(
        400,
        _CALLER,
        "A known field stands at the wrong level of the input.",
        "Move it to the place that the message names.",
    ),
    Code.REMOVED_PARAMETER: Entry(
        400,
        _CALLER,
        "A field existed in an earlier vLLM or worker; today it would be ignored without a word.",
        "Use the replacement that the message names.",
    ),
    Code.UNSUPPORTED_PARAMETER: Entry(
        400,
        _CALLER,
        "A known field has no effect for this kind of request.",
        "Remove it, or send the kind of request that the message names.",
    ),
    Code.CONFLICTING_PARAMETERS: Entry(
        400,
        _CALLER,
        "Two fields exclude each other.",
        "Change one of the two that the message names.",
    ),
    Code.INVALID_ROUTE: Entry(
        400,
        _CALLER,
        "The route is not a plain path: a whole URL, `..`, an escape or an empty segment.",
        "Send a path such as /v1/chat/completions.",
    ),
    Code.UNKNOWN_ROUTE: Entry(
        404,
        _ABSENT,
        "No such route exists in this version of vLLM.",
        "Use a route of the list in the docs; the message names the nearest.",
    ),
    Code.ROUTE_CLOSED: Entry(
        403,
        _DENIED,
        "The route controls or inspects the server and is closed to jobs.",
        "Do without it, or set OPEN_CONTROL_ROUTES=true on the endpoint.",
    ),
    Code.METHOD_NOT_ALLOWED: Entry(
        405,
        _CALLER,
        "The route exists but not with this HTTP method.",
        "Use the method that the message names.",
    ),
    Code.ROUTE_NOT_SERVED: Entry(
        404,
        _ABSENT,
        "vLLM has this route, but not for the model that is loaded or not with its settings.",
        "Deploy a model of the right kind, e.g. an embedding model for /v1/embeddings, or set "
        "what the message names.",
    ),
    Code.MODEL_NOT_FOUND: Entry(
        404,
        _ABSENT,
        "No model or adapter of that name is served.",
        "Leave `model` out, or take a name from /v1/models.",
    ),
    Code.NOT_FOUND: Entry(
        404,
        _ABSENT,
        "What the request refers to, e.g. a stored response, does not exist.",
        "Check the identifier.",
    ),
    Code.CONTEXT_LENGTH_EXCEEDED: Entry(
        400,
        _CALLER,
        "Prompt and requested output do not fit into the model's context.",
        "Shorten the prompt, lower `max_tokens`, or raise MAX_MODEL_LEN.",
    ),
    Code.CHAT_TEMPLATE_MISSING: Entry(
        400,
        _CALLER,
        "The model has no chat template, so messages cannot become a prompt.",
        "Send `prompt`, or set CUSTOM_CHAT_TEMPLATE on the endpoint.",
    ),
    Code.UNSATISFIABLE_FORM: Entry(
        400,
        _CALLER,
        "While the output grew, no token was left that fits the form which the request demands "
        "and its other parameters.",
        "Loosen the form, or change or remove what else the message names.",
    ),
    Code.GRAMMAR_TOO_LARGE: Entry(
        400,
        _CALLER,
        "The form that the request demands of its output is too large to be compiled without "
        "blocking other requests.",
        "Shorten the schema, the choices, the expression or the tools, or raise "
        "MAX_GRAMMAR_BYTES on the endpoint.",
    ),
    Code.INVALID_REQUEST: Entry(
        400,
        _CALLER,
        "vLLM refused the request; the message and `param` are vLLM's.",
        "Correct what the message names.",
    ),
    Code.INVALID_API_KEY: Entry(
        401,
        "authentication_error",
        "A request over HTTP came without the worker's own API key.",
        "Send the value of WORKER_API_KEY as a Bearer token.",
    ),
    Code.REQUEST_TIMEOUT: Entry(
        408,
        _CALLER,
        "The head or the body of a request over HTTP did not arrive in time.",
        "Send it in one go; HTTP_HEADER_TIMEOUT_S and HTTP_BODY_TIMEOUT_S are the limits.",
    ),
    Code.MEDIA_UNREADABLE: Entry(
        422,
        _CALLER,
        "An image, audio or video of the request could not be loaded.",
        "Check the URL or send the content as a data URL.",
    ),
    Code.NOT_IMPLEMENTED: Entry(
        501,
        _CALLER,
        "vLLM cannot do this for the model that is loaded.",
        "Correct what the message names, or deploy another model.",
    ),
    Code.RESULT_TOO_LARGE: Entry(
        413,
        _CALLER,
        "The answer is larger than the platform delivers.",
        "Ask for less: fewer choices, fewer tokens, no log-probabilities; or stream.",
    ),
    Code.RESULT_REFUSED: Entry(
        502,
        _SERVER,
        "RunPod did not accept the job's result from the worker.",
        "Read the status in the message; ask for a smaller answer, or send the request again.",
    ),
    Code.ENGINE_OVERLOADED: Entry(
        503,
        _SERVER,
        "The engine's queue is full.",
        "Send the request again after a pause; more workers or a lower MAX_CONCURRENCY help.",
        retryable=True,
    ),
    Code.ENGINE_UNAVAILABLE: Entry(
        503,
        _SERVER,
        "The engine does not answer yet or no longer.",
        "Send the request again.",
        retryable=True,
    ),
    Code.ENGINE_DIED: Entry(
        503,
        _SERVER,
        "The engine ended while it worked on the request; the worker is being replaced.",
        "Send the request again; if it happens again, the worker's log has the cause.",
        retryable=True,
    ),
    Code.ENGINE_TIMEOUT: Entry(
        504,
        _SERVER,
        "The engine gave no sign of life for too long.",
        "Send the request again.",
        retryable=True,
    ),
    Code.ENGINE_ERROR: Entry(
        500,
        _SERVER,
        "vLLM failed while it worked on the request.",
        "Send the request again; if it happens again, the worker's log has the cause.",
        retryable=True,
    ),
    Code.WORKER_STOPPING: Entry(
        503,
        _SERVER,
        "The worker is shutting down.",
        "Send the request again; another worker takes it.",
        retryable=True,
    ),
    Code.INTERNAL_ERROR: Entry(
        500,
        _SERVER,
        "The worker itself failed; the cause is in its log and not in the answer.",
        "Report it with the job's id.",
    ),
}
"""Every code that a request error can have."""


def fail(
    code: Code,
    message: str,
    param: str | None = None,
    *,
    status: int | None = None,
    family: str | None = None,
    **extra: Any,
) -> RequestError:
    """Return the error for `code`, with status and family from the table.

    Args:
        code: Which entry of the table.
        message: What is wrong and what to send instead.
        param: JSON path of the field at fault.
        status: HTTP status, where vLLM gave another one than the table has.
        family: OpenAI error family, where vLLM gave another one.
        **extra: Further members of the error object.
    """
    entry = CODES[code]
    caller = sys._getframe(1)
    if entry.retryable:
        extra.setdefault("retryable", True)
    return RequestError(
        message=shorten(message, LONGEST_MESSAGE),
        code=code.value,
        status=status or entry.status,
        type=family or entry.type,
        param=None if param is None else shorten(param, LONGEST_PARAM),
        extra=extra,
        raised_at=f"{caller.f_globals['__name__']}:{caller.f_lineno}",
    )
