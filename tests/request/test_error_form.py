"""Errors in the form of the API that was called: OpenAI's, Anthropic's, Cohere's."""

from __future__ import annotations

import json

import pytest

from worker.request import Code, error_body, error_events, request_error

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/openai/v1/messages", "/messages/", "/v1/messages/count_tokens"]
)
def test_error_body_of_messages_is_anthropics(path):
    body = error_body(request_error(Code.UNKNOWN_PARAMETER, "no such name", "temprature"), path)

    assert body["type"] == "error"
    assert body["error"]["type"] == "invalid_request_error"
    assert body["error"]["message"] == "no such name"
    assert (body["error"]["code"], body["error"]["param"]) == ("unknown_parameter", "temprature")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_error_body_of_messages_has_anthropics_type_for_the_status(status, kind):
    body = error_body(request_error(Code.INTERNAL_ERROR, "x", status=status), "/v1/messages")
    assert body["error"]["type"] == kind


def test_error_body_of_cohere_has_the_message_on_top():
    error = request_error(Code.MODEL_NOT_FOUND, "no such model")
    body = error_body(error, "/cohere/v2/chat")
    assert body == {"message": "no such model", **error.body()}


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/runsync", "/v1/nothing", "/", "//"])
def test_error_body_elsewhere_is_openais(path):
    error = request_error(Code.UNKNOWN_ROUTE, "x")
    assert error_body(error, path) == error.body()


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, "/openai/v1/chat/completions"])
def test_error_events_openai_stream_ends_properly(path):
    events = error_events(request_error(Code.ENGINE_DIED, "gone"), path).decode().split("\n\n")

    assert json.loads(events[0].removeprefix("data: "))["error"]["code"] == "engine_died"
    assert events[1:] == ["data: [DONE]", ""]


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/responses", "/openai/v1/messages", "messages", "responses"]
)
def test_error_events_named_events_elsewhere(path):
    lines = error_events(request_error(Code.ENGINE_DIED, "gone"), path).decode().splitlines()

    assert lines[0] == "event: error"
    payload = json.loads(lines[1].removeprefix("data: "))
    assert payload["type"] == "error"
    if "messages" in path:
        assert payload["error"]["type"] == "overloaded_error"
    else:
        assert payload["code"] == "engine_died"
    assert len(lines) == 3


def test_error_events_of_cohere_end_the_message():
    events = error_events(request_error(Code.ENGINE_DIED, "gone"), "/cohere/v2/chat").split(b"\n\n")
    assert json.loads(events[0].removeprefix(b"data: ")) == {
        "type": "message-end",
        "delta": {"error": "gone", "finish_reason": "ERROR"},
    }
    assert events[1:] == [b"data: [DONE]", b""]
