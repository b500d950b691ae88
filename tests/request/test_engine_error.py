import dataclasses
import json

import pytest

from worker.errors import RequestError
from worker.request import Batching, RequestDefaults, map_engine_error, parse_job
from worker.request.codes import ERROR_SPECS, Code, request_error
from worker.request.engine_error import (
    GENERIC_REQUEST_ERROR,
    MAX_MESSAGE_CHARS,
    VLLM_INTERNAL_ERROR,
    clean_message,
)
from worker.request.routes import CHAT

DEFAULTS = RequestDefaults(model="served", batching=Batching(1, 50, 3.0), max_tokens=16)
NATIVE = parse_job({"prompt": "Hi"}, DEFAULTS)
OPENAI = parse_job({"openai_route": CHAT, "openai_input": {"messages": "Hi"}}, DEFAULTS)
EMBEDDINGS = parse_job({"route": "/v1/embeddings", "body": {"input": "Hi"}}, DEFAULTS)
STORED = parse_job({"route": "/v1/responses/resp_1"}, DEFAULTS)

LENGTH = "This model's maximum context length is 512 tokens. However, your prompt contains 600"


def engine_body(message: str, kind: str = "BadRequestError", param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": param}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "call", "code", "param"),
    [
        pytest.param(
            400,
            engine_body("top_p must be in (0, 1]", param="top_p"),
            OPENAI,
            "invalid_request",
            "top_p",
            id="refused",
        ),
        pytest.param(
            400,
            engine_body("too many", param="top_logprobs"),
            NATIVE,
            "invalid_request",
            "sampling_params.logprobs",
            id="native, other name",
        ),
        pytest.param(
            400,
            engine_body("bad", param="body.messages"),
            OPENAI,
            "invalid_request",
            "messages",
            id="path of the body",
        ),
        pytest.param(
            400,
            engine_body(LENGTH, param="input_tokens"),
            OPENAI,
            "context_length_exceeded",
            "messages",
            id="too long, chat",
        ),
        pytest.param(
            400,
            engine_body(LENGTH, param="input_text"),
            NATIVE,
            "context_length_exceeded",
            "prompt",
            id="too long, native",
        ),
        pytest.param(
            400,
            engine_body("default chat template is no longer allowed, so you must"),
            OPENAI,
            "chat_template_missing",
            None,
            id="no chat template",
        ),
        pytest.param(
            404,
            engine_body("The model `x` does not exist.", "NotFoundError", "model"),
            OPENAI,
            "model_not_found",
            "model",
            id="no such model",
        ),
        pytest.param(
            404,
            engine_body("Not Found", "Not Found"),
            EMBEDDINGS,
            "route_not_served",
            None,
            id="route absent",
        ),
        pytest.param(
            501,
            engine_body("The model does not support Embeddings API", "NotImplementedError"),
            EMBEDDINGS,
            "route_not_served",
            None,
            id="route without function",
        ),
        pytest.param(
            501, engine_body("no", "NotImplementedError"), OPENAI, "not_implemented", None, id="501"
        ),
        pytest.param(
            404,
            engine_body("Response with id 'resp_1' not found.", "NotFoundError"),
            STORED,
            "not_found",
            None,
            id="stored response",
        ),
        pytest.param(
            400,
            engine_body("Failed to load image: cannot identify image file <_io.BytesIO object>"),
            OPENAI,
            "media_unreadable",
            None,
            id="no image",
        ),
        pytest.param(
            422,
            engine_body("cannot load image", "UnprocessableEntityError"),
            OPENAI,
            "media_unreadable",
            None,
            id="image",
        ),
        pytest.param(
            503,
            engine_body("busy", "Service Unavailable"),
            OPENAI,
            "engine_overloaded",
            None,
            id="503",
        ),
        pytest.param(
            404,
            engine_body("The model `org/x` does not exist: the hub has none.", "NotFoundError"),
            OPENAI,
            "model_not_found",
            "model",
            id="adapter absent",
        ),
        pytest.param(
            400,
            engine_body("The adapter `org/x` cannot be used: its rank is 64."),
            OPENAI,
            "adapter_unusable",
            "model",
            id="adapter unusable",
        ),
        pytest.param(
            503,
            engine_body("The adapter `org/x` could not be fetched: no.", "Service Unavailable"),
            OPENAI,
            "adapter_unavailable",
            "model",
            id="adapter unavailable",
        ),
        pytest.param(
            500,
            engine_body("EngineCore encountered an issue. See stack trace", "InternalServerError"),
            OPENAI,
            "engine_died",
            None,
            id="engine dead",
        ),
        pytest.param(
            500, engine_body("oops", "InternalServerError"), OPENAI, "engine_error", None, id="500"
        ),
        pytest.param(500, b"", OPENAI, "engine_error", None, id="no body"),
        pytest.param(502, b"<html>", OPENAI, "engine_error", None, id="html"),
        pytest.param(400, b"[1]", OPENAI, "invalid_request", None, id="an array"),
        pytest.param(400, b'{"error": "text"}', OPENAI, "invalid_request", None, id="text error"),
        pytest.param(400, b'{"detail": "bad"}', OPENAI, "invalid_request", None, id="detail"),
        pytest.param(400, b"\xff\xfe", OPENAI, "invalid_request", None, id="not text"),
    ],
)
def test_map_engine_error_gives_stable_code(status, body, call, code, param):
    error = map_engine_error(status, body, call)

    assert (error.code, error.status, error.param) == (code, status, param)
    assert error.message
    assert json.loads(error.json())["error"]["code"] == code


def test_map_engine_error_keeps_vllms_message_and_type():
    error = map_engine_error(400, engine_body("top_p must be in (0, 1], got 5."), OPENAI)

    assert error.message == "top_p must be in (0, 1], got 5."
    assert error.type == "BadRequestError"


def test_map_engine_error_of_an_adapter_says_why_and_that_it_may_pass():
    text = "The adapter `org/x` could not be fetched: the hub answered with status 500."

    error = map_engine_error(503, engine_body(text, "Service Unavailable"), OPENAI)

    assert error.message == text
    assert error.extra == {"retryable": True}


def test_map_engine_error_server_failure_hides_its_text():
    body = engine_body("'NoneType' object has no attribute 'x'", "InternalServerError")

    error = map_engine_error(500, body, OPENAI)

    assert "NoneType" not in error.message
    assert error.extra == {"retryable": True}


FORM = {"structured_outputs": {"choice": ["a"]}}


@pytest.mark.parametrize(
    ("job_input", "param", "named"),
    [
        pytest.param(
            {"prompt": "x", "sampling_params": {**FORM, "allowed_token_ids": [5]}},
            "structured_outputs",
            "sampling_params.allowed_token_ids",
            id="native",
        ),
        pytest.param(
            {"openai_route": CHAT, "openai_input": {"messages": "x", **FORM, "bad_words": ["a"]}},
            "structured_outputs",
            "this constraint and bad_words;",
            id="chat",
        ),
        pytest.param(
            {"openai_route": CHAT, "openai_input": {"messages": "x", "tool_choice": "required"}},
            "tool_choice",
            "this constraint;",
            id="no token constraint",
        ),
    ],
)
def test_map_engine_error_of_unsatisfiable_constraints_is_a_client_error(job_input, param, named):
    call = parse_job(job_input, DEFAULTS)
    error = map_engine_error(500, engine_body(VLLM_INTERNAL_ERROR, "InternalServerError"), call)

    assert (error.code, error.status, error.param) == ("unsatisfiable_constraints", 400, param)
    assert named in error.message
    assert "retryable" not in error.extra


def test_map_engine_error_without_constraints_is_retryable():
    error = map_engine_error(500, engine_body(VLLM_INTERNAL_ERROR, "InternalServerError"), OPENAI)

    assert (error.code, error.extra) == ("engine_error", {"retryable": True})


@pytest.mark.parametrize(
    ("route", "status", "body", "setting"),
    [
        ("/server_info", 404, engine_body("Not Found", "Not Found"), "VLLM_SERVER_DEV_MODE=1"),
        ("/tokenizer_info", 404, b'{"detail": "Not Found"}', "ENABLE_TOKENIZER_INFO_ENDPOINT=true"),
        (
            "/v1/completions/render",
            403,
            engine_body("Scale-out endpoints are disabled.", "PermissionDeniedError"),
            "ENABLE_SCALE_OUT=true",
        ),
    ],
)
def test_map_engine_error_of_a_route_without_its_setting_names_it(route, status, body, setting):
    defaults = dataclasses.replace(DEFAULTS, open_control_routes=True)
    call = parse_job({"route": route, "body": {"prompt": "x"}}, defaults)
    error = map_engine_error(status, body, call)

    assert (error.code, error.status) == ("route_not_served", 404)
    assert route in error.message
    assert setting in error.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages', "
            "'msg': 'Field required', 'input': {'model': \"it's\"}}",
            "1 validation error:\n  messages: Field required",
        ),
        (
            "1 validation error:\n  {'type': 'x', 'loc': ('body', 'n'), 'msg': 'Bad', 'ctx': <x>}",
            "1 validation error:\n  a field is not valid",
        ),
        (
            "1 validation error:\n  {'type': 'value_error', 'loc': 'body.max_tokens', 'msg': "
            "'Value error, must be positive', 'input': '-1', 'ctx': {'error': ValueError('no')}}",
            "1 validation error:\n  max_tokens: must be positive",
        ),
        (
            "2 validation errors for AnthropicContentBlock\ninput\n  Input should be a valid "
            "dictionary [type=dict_type, input_value=[1], input_type=list]\n    For further "
            "information visit https://errors.pydantic.dev/2.14/v/dict_type\nname\n  Field "
            "required [type=missing, input_value={'a': 1}, input_type=dict]",
            "2 validation errors:\ninput\n  Input should be a valid dictionary\nname\n  Field "
            "required",
        ),
        ("Bad ids: ['abc', 'd']", 'Bad ids: ["abc", "d"]'),
        ("Bad schema {not: 'python'}", "Bad schema {not: 'python'}"),
        ("None of these: {'json': None, '_backend': None}", "None of these"),
        ("'int' object is not iterable", GENERIC_REQUEST_ERROR),
        ("'NoneType' object has no attribute 'get'", GENERIC_REQUEST_ERROR),
        ("Bad (parameter=top_p, value=5.0)", "Bad"),
        ("Bad (parameter=tool_choice.function)", "Bad"),
        ("Bad (really)", "Bad (really)"),
        ("no image file <_io.BytesIO object>", "no image file"),
        ("Cannot use <a.B object at 0x7f1>, sorry", "Cannot use, sorry"),
        ("Start vLLM with --enable-auto-tool-choice.", "Start vLLM with ENABLE_AUTO_TOOL_CHOICE."),
        ("a --b and c---d-e stay", "a --b and c---d-e stay"),
        ("x" * 9000, "x" * (MAX_MESSAGE_CHARS - 1) + "…"),
    ],
)
def test_clean_message_has_no_python_notation(text, expected):
    assert clean_message(text) == expected


def test_codes_table_covers_every_code():
    assert list(ERROR_SPECS) == list(Code)


@pytest.mark.parametrize("code", Code)
def test_request_error_takes_status_and_family_from_the_table(code):
    error = request_error(code, "text", "path")

    assert isinstance(error, RequestError)
    body = error.body()["error"]
    assert (body["code"], body["status"], body["type"]) == (
        code.value,
        ERROR_SPECS[code].status,
        ERROR_SPECS[code].type,
    )
    assert body.get("retryable", False) is ERROR_SPECS[code].retryable


def test_map_engine_error_of_an_absent_route_names_it_and_the_remedy():
    error = map_engine_error(404, engine_body("Not Found", "Not Found"), EMBEDDINGS)

    assert error.message.startswith("/v1/embeddings: The loaded model or its settings do not")
    assert "embedding model" in error.message
