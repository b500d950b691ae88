"""Lines of OpenAI's batch format as job input."""

import pytest

from worker.errors import RequestError
from worker.request import Batching, RequestDefaults, parse_job
from worker.request.batch_line import build_batch_line, find_custom_id
from worker.request.routes import CHAT

DEFAULTS = RequestDefaults("served", Batching(1, 50, 3.0), 16)
HELLO = [{"role": "user", "content": "Hello"}]


def line(**members):
    body = {"messages": HELLO, "max_tokens": 4}
    return {"custom_id": "r-1", "method": "POST", "url": CHAT, "body": body, **members}


def test_parse_batch_line_keeps_custom_id_and_completes_body():
    call = parse_job(line(), DEFAULTS)
    assert (call.method, call.path, call.custom_id) == ("POST", CHAT, "r-1")
    assert call.body == {"messages": HELLO, "max_tokens": 4, "model": "served"}
    assert not call.stream


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
        ("/v1/responses", {"input": "a"}),
    ],
)
def test_parse_batch_line_takes_every_route(url, body):
    assert parse_job(line(url=url, body=body), DEFAULTS).path == url


@pytest.mark.parametrize(
    ("job_input", "code", "param"),
    [
        (line(custom_id=""), "invalid_parameter", "custom_id"),
        (line(custom_id=7), "invalid_parameter", "custom_id"),
        (line(custom_id="x" * 513), "invalid_parameter", "custom_id"),
        (line(url="/v1/chat/completion"), "unknown_route", "url"),
        (line(body=None), "missing_parameter", "body"),
        (line(method="GET"), "method_not_allowed", "method"),
        (line(body={"messages": HELLO, "stream": True}), "unsupported_parameter", "stream"),
        (line(route=CHAT), "invalid_job_input", "route"),
        ({"openai_route": CHAT, "custom_id": "1"}, "invalid_job_input", "custom_id"),
        ({"custom_id": "r-1", "body": {}}, "missing_parameter", "url"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_parse_batch_line_refuses_what_it_cannot_answer(job_input, code, param):
    with pytest.raises(RequestError) as caught:
        parse_job(job_input, DEFAULTS)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_build_batch_line_has_the_members_of_openais_output_file():
    reply = {"id": "chatcmpl-1", "choices": []}
    assert build_batch_line("r-1", reply) == {
        "custom_id": "r-1",
        "response": {"status_code": 200, "request_id": "chatcmpl-1", "body": reply},
        "error": None,
    }


@pytest.mark.parametrize(
    ("job_input", "custom_id"),
    [(line(), "r-1"), ({"prompt": "a"}, None), ({"custom_id": 1}, None), ("x", None)],
)
def test_find_custom_id_reads_any_input(job_input, custom_id):
    assert find_custom_id(job_input) == custom_id
