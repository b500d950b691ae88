"""Stable codes of request errors, in one table that creates and documents them."""

from __future__ import annotations

import enum
import sys
from dataclasses import dataclass
from typing import Any

from worker.errors import RequestError, shorten

MAX_MESSAGE_CHARS = 4000
"""Characters of an error's message; it may quote input of any size."""

MAX_PARAM_CHARS = 250
"""Characters of an error's `param`."""


class Code(enum.StrEnum):
    """Values of `error.code`; a published value never changes."""

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
    ADAPTER_UNUSABLE = "adapter_unusable"
    ADAPTER_UNAVAILABLE = "adapter_unavailable"
    NOT_FOUND = "not_found"
    CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"
    CHAT_TEMPLATE_MISSING = "chat_template_missing"
    UNSATISFIABLE_CONSTRAINTS = "unsatisfiable_constraints"
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
class ErrorSpec:
    """Properties of one code.

    Attributes:
        status: HTTP status.
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

ERROR_SPECS: dict[Code, ErrorSpec] = {
    Code.INVALID_JOB_INPUT: ErrorSpec(
        400,
        _CALLER,
        "The job's input has none of the accepted shapes, or mixes two of them.",
        "Send one of the shapes that the message lists.",
    ),
    Code.INVALID_JSON_VALUE: ErrorSpec(
        400,
        _CALLER,
        "The input has a value that JSON cannot represent: NaN, infinity, an integer beyond "
        "64 bits, half of a surrogate pair, or text that is not UTF-8.",
        "Send finite numbers and well-formed Unicode text.",
    ),
    Code.INPUT_TOO_DEEP: ErrorSpec(
        400,
        _CALLER,
        "Objects and arrays of the input are nested too deeply.",
        "Flatten the value that `param` names.",
    ),
    Code.MISSING_PARAMETER: ErrorSpec(
        400,
        _CALLER,
        "A required field is absent or empty.",
        "Add the field that `param` names.",
    ),
    Code.INVALID_PARAMETER: ErrorSpec(
        400,
        _CALLER,
        "A field has the wrong type or is outside its bounds.",
        "Send a value as the message describes; types are not converted.",
    ),
    Code.UNKNOWN_PARAMETER: ErrorSpec(
        400,
        _CALLER,
        "A field's name is not known, most often a misspelling.",
        "Use the name that the message suggests, or remove the field.",
    ),
    Code.MISPLACED_PARAMETER: ErrorSpec(
        400,
        _CALLER,
        "A known field is at the wrong level of the input.",
        "Move it to the place that the message names.",
    ),
    Code.REMOVED_PARAMETER: ErrorSpec(
        400,
        _CALLER,
        "A field existed in an earlier vLLM or worker; today it would be ignored silently.",
        "Use the replacement that the message names.",
    ),
    Code.UNSUPPORTED_PARAMETER: ErrorSpec(
        400,
        _CALLER,
        "A known field has no effect for this kind of request.",
        "Remove it, or send the kind of request that the message names.",
    ),
    Code.CONFLICTING_PARAMETERS: ErrorSpec(
        400,
        _CALLER,
        "Two fields exclude each other.",
        "Change one of the two that the message names.",
    ),
    Code.INVALID_ROUTE: ErrorSpec(
        400,
        _CALLER,
        "The route is not a plain path: a whole URL, `..` or an escape.",
        "Send a path such as /v1/chat/completions.",
    ),
    Code.UNKNOWN_ROUTE: ErrorSpec(
        404,
        _ABSENT,
        "No such route exists in this version of vLLM.",
        "Use a route listed in docs/requests.md; the message suggests the nearest.",
    ),
    Code.ROUTE_CLOSED: ErrorSpec(
        403,
        _DENIED,
        "The route controls or inspects the server and is closed to jobs.",
        "Do not call it, or set OPEN_CONTROL_ROUTES=true on the endpoint.",
    ),
    Code.METHOD_NOT_ALLOWED: ErrorSpec(
        405,
        _CALLER,
        "The route does not accept this HTTP method.",
        "Use the method that the message names.",
    ),
    Code.ROUTE_NOT_SERVED: ErrorSpec(
        404,
        _ABSENT,
        "The loaded model or its settings do not support this route.",
        "Deploy a model of the right kind, e.g. an embedding model for /v1/embeddings, or set "
        "what the message names.",
    ),
    Code.MODEL_NOT_FOUND: ErrorSpec(
        404,
        _ABSENT,
        "No model or adapter of that name is served.",
        "Leave `model` out, or use a name from /v1/models.",
    ),
    Code.ADAPTER_UNUSABLE: ErrorSpec(
        400,
        _CALLER,
        "The LoRA adapter that `model` names cannot be used with this endpoint's model.",
        "Name another adapter, or change on the endpoint what the message names.",
    ),
    Code.ADAPTER_UNAVAILABLE: ErrorSpec(
        503,
        _SERVER,
        "The LoRA adapter that `model` names could not be fetched.",
        "Send the request again.",
        retryable=True,
    ),
    Code.NOT_FOUND: ErrorSpec(
        404,
        _ABSENT,
        "An object that the request refers to, e.g. a stored response, does not exist.",
        "Check the identifier.",
    ),
    Code.CONTEXT_LENGTH_EXCEEDED: ErrorSpec(
        400,
        _CALLER,
        "Prompt and requested output do not fit into the model's context.",
        "Shorten the prompt, lower `max_tokens`, or raise MAX_MODEL_LEN.",
    ),
    Code.CHAT_TEMPLATE_MISSING: ErrorSpec(
        400,
        _CALLER,
        "The model has no chat template to convert messages to a prompt.",
        "Send `prompt`, or set CUSTOM_CHAT_TEMPLATE on the endpoint.",
    ),
    Code.UNSATISFIABLE_CONSTRAINTS: ErrorSpec(
        400,
        _CALLER,
        "No token satisfies both the structured-output constraint and the other parameters.",
        "Relax the constraint, or change or remove the other parameters that the message names.",
    ),
    Code.GRAMMAR_TOO_LARGE: ErrorSpec(
        400,
        _CALLER,
        "The structured-output constraint is too large: compiling it would block other requests.",
        "Shorten the schema, the choices, the expression or the tools, or raise "
        "MAX_GRAMMAR_BYTES on the endpoint.",
    ),
    Code.INVALID_REQUEST: ErrorSpec(
        400,
        _CALLER,
        "vLLM rejected the request; the message and `param` are from vLLM.",
        "Correct what the message names.",
    ),
    Code.INVALID_API_KEY: ErrorSpec(
        401,
        "authentication_error",
        "A request over HTTP came without the worker's own API key.",
        "Send the value of WORKER_API_KEY as a Bearer token.",
    ),
    Code.REQUEST_TIMEOUT: ErrorSpec(
        408,
        _CALLER,
        "The head or the body of a request over HTTP did not arrive in time.",
        "Send it without pauses; the limits are HTTP_HEADER_TIMEOUT_S and HTTP_BODY_TIMEOUT_S.",
    ),
    Code.MEDIA_UNREADABLE: ErrorSpec(
        422,
        _CALLER,
        "An image, audio or video of the request could not be loaded.",
        "Check the URL or send the content as a data URL.",
    ),
    Code.NOT_IMPLEMENTED: ErrorSpec(
        501,
        _CALLER,
        "vLLM does not support this for the loaded model.",
        "Correct what the message names, or deploy another model.",
    ),
    Code.RESULT_TOO_LARGE: ErrorSpec(
        413,
        _CALLER,
        "The answer is larger than the platform delivers.",
        "Ask for less: fewer choices, fewer tokens, no log-probabilities; or stream.",
    ),
    Code.RESULT_REFUSED: ErrorSpec(
        502,
        _SERVER,
        "RunPod did not accept the job's result from the worker.",
        "Read the status in the message; ask for a smaller answer, or send the request again.",
    ),
    Code.ENGINE_OVERLOADED: ErrorSpec(
        503,
        _SERVER,
        "The engine's queue is full.",
        "Send the request again after a pause; more workers or a lower MAX_CONCURRENCY help.",
        retryable=True,
    ),
    Code.ENGINE_UNAVAILABLE: ErrorSpec(
        503,
        _SERVER,
        "The engine is not ready or has stopped.",
        "Send the request again.",
        retryable=True,
    ),
    Code.ENGINE_DIED: ErrorSpec(
        503,
        _SERVER,
        "The engine ended while it worked on the request; the worker is being replaced.",
        "Send the request again; if it happens again, the worker's log has the cause.",
        retryable=True,
    ),
    Code.ENGINE_TIMEOUT: ErrorSpec(
        504,
        _SERVER,
        "The engine did not respond in time.",
        "Send the request again.",
        retryable=True,
    ),
    Code.ENGINE_ERROR: ErrorSpec(
        500,
        _SERVER,
        "vLLM failed while it worked on the request.",
        "Send the request again; if it happens again, the worker's log has the cause.",
        retryable=True,
    ),
    Code.WORKER_STOPPING: ErrorSpec(
        503,
        _SERVER,
        "The worker is shutting down.",
        "Send the request again; another worker takes it.",
        retryable=True,
    ),
    Code.INTERNAL_ERROR: ErrorSpec(
        500,
        _SERVER,
        "The worker itself failed; the cause is in its log.",
        "Report it with the job's id.",
    ),
}
"""Every code that a request error can have."""


def request_error(
    code: Code,
    message: str,
    param: str | None = None,
    *,
    status: int | None = None,
    family: str | None = None,
    **extra: Any,
) -> RequestError:
    """Return the error for `code`, with status and family from `ERROR_SPECS`.

    Args:
        code: Key in `ERROR_SPECS`.
        message: What is wrong and what to send instead.
        param: JSON path of the field at fault.
        status: HTTP status, if vLLM's differs from the table.
        family: OpenAI error family, if vLLM's differs from the table.
        **extra: Further fields of the error object.
    """
    spec = ERROR_SPECS[code]
    caller = sys._getframe(1)
    if spec.retryable:
        extra.setdefault("retryable", True)
    return RequestError(
        message=shorten(message, MAX_MESSAGE_CHARS),
        code=code.value,
        status=status or spec.status,
        type=family or spec.type,
        param=None if param is None else shorten(param, MAX_PARAM_CHARS),
        extra=extra,
        raised_at=f"{caller.f_globals['__name__']}:{caller.f_lineno}",
    )
