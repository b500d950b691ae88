import copy
from typing import Any

import pytest

from worker.errors import RequestError
from worker.request import Batching, EngineRequest, RequestDefaults, parse_job
from worker.request.routes import CHAT, COMPLETIONS

BATCHING = Batching(min_size=1, max_size=50, growth_factor=3.0)
DEFAULTS = RequestDefaults(model="served", batching=BATCHING, max_tokens=16)

HELLO = [{"role": "user", "content": "Hello"}]


def parse(job_input: object, **settings: Any) -> EngineRequest:
    return parse_job(job_input, RequestDefaults("served", BATCHING, 16, **settings))


@pytest.mark.parametrize(
    ("job_input", "method", "path", "body"),
    [
        pytest.param(
            {"prompt": "Hi", "sampling_params": {"max_tokens": 5}},
            "POST",
            COMPLETIONS,
            {"model": "served", "prompt": "Hi", "max_tokens": 5},
            id="native prompt",
        ),
        pytest.param(
            {"prompt": "Hi", "apply_chat_template": True, "sampling_params": {"max_tokens": 5}},
            "POST",
            CHAT,
            {"model": "served", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5},
            id="native prompt with chat template",
        ),
        pytest.param(
            {"messages": HELLO, "prompt": "ignored", "sampling_params": {"max_tokens": 5}},
            "POST",
            CHAT,
            {"model": "served", "messages": HELLO, "max_tokens": 5},
            id="native messages override the prompt",
        ),
        pytest.param(
            {"messages": None, "prompt": "Hi", "sampling_params": {"max_tokens": 5}},
            "POST",
            COMPLETIONS,
            {"model": "served", "prompt": "Hi", "max_tokens": 5},
            id="native null messages are absent",
        ),
        pytest.param(
            {"openai_route": "/v1/chat/completions", "openai_input": {"messages": HELLO}},
            "POST",
            CHAT,
            {"model": "served", "messages": HELLO},
            id="gateway",
        ),
        pytest.param(
            {"openai_route": "chat/completions", "openai_input": {"messages": HELLO, "model": "a"}},
            "POST",
            CHAT,
            {"model": "a", "messages": HELLO},
            id="gateway without /v1 keeps the model",
        ),
        pytest.param(
            {"openai_route": "/v1/models", "openai_input": None},
            "GET",
            "/v1/models",
            None,
            id="gateway GET, null input",
        ),
        pytest.param(
            {"openai_route": "/v1/models", "openai_input": {}},
            "GET",
            "/v1/models",
            None,
            id="gateway GET, empty input",
        ),
        pytest.param(
            {"openai_route": "/v1/models", "openai_input": ""},
            "GET",
            "/v1/models",
            None,
            id="gateway GET, empty text",
        ),
        pytest.param(
            {"openai_route": "/v1/models", "unheard_of": "by a later platform"},
            "GET",
            "/v1/models",
            None,
            id="gateway with members of a later platform",
        ),
        pytest.param(
            {"openai_route": "/v1/completions", "openai_input": '{"prompt": "Hi"}'},
            "POST",
            COMPLETIONS,
            {"model": "served", "prompt": "Hi"},
            id="gateway body as text",
        ),
        pytest.param(
            {"openai_route": "/v1/completions", "openai_input": {}},
            "POST",
            COMPLETIONS,
            {"model": "served"},
            id="gateway explicit empty body stays POST",
        ),
        pytest.param(
            {"route": "/tokenize", "body": {"prompt": "Hi"}},
            "POST",
            "/tokenize",
            {"model": "served", "prompt": "Hi"},
            id="generic",
        ),
        pytest.param(
            {"route": "/v1/models", "method": "get"},
            "GET",
            "/v1/models",
            None,
            id="generic with method",
        ),
        pytest.param({"route": "/ping"}, "GET", "/ping", None, id="generic, both methods: GET"),
        pytest.param(
            {"route": "/ping", "body": {}},
            "POST",
            "/ping",
            {},
            id="generic, both methods, with body: POST",
        ),
        pytest.param(
            {"route": "/v1/responses/resp_1/cancel"},
            "POST",
            "/v1/responses/resp_1/cancel",
            {},
            id="generic POST without body",
        ),
        pytest.param(
            {"model": "a", "messages": HELLO, "temperature": 0.5},
            "POST",
            CHAT,
            {"model": "a", "messages": HELLO, "temperature": 0.5},
            id="bare OpenAI chat body",
        ),
        pytest.param(
            {"model": "a", "prompt": "Hi", "max_tokens": 3, "stream": False},
            "POST",
            COMPLETIONS,
            {"model": "a", "prompt": "Hi", "max_tokens": 3, "stream": False},
            id="bare OpenAI completion body",
        ),
    ],
)
def test_parse_job_accepted_shape_gives_call(job_input, method, path, body):
    before = copy.deepcopy(job_input)

    call = parse(job_input)

    assert (call.method, call.path, call.body) == (method, path, body)
    assert job_input == before


@pytest.mark.parametrize(
    ("job_input", "shape"),
    [
        ({"prompt": "Hi"}, "native"),
        ({"messages": HELLO, "model": "a"}, "native"),
        ({"messages": HELLO, "model": "a", "stream": True}, "native"),
        ({"messages": HELLO, "model": "a", "max_tokens": 3}, "openai"),
        ({"openai_route": "/v1/models"}, "openai"),
        ({"route": "/health"}, "openai"),
    ],
)
def test_parse_job_shape_decides_the_answers_form(job_input, shape):
    assert parse(job_input).shape == shape


@pytest.mark.parametrize(
    ("job_input", "code", "param", "words"),
    [
        pytest.param(None, "invalid_job_input", None, "an object, got null", id="null"),
        pytest.param([], "invalid_job_input", None, "an object, got an array", id="array"),
        pytest.param("Hi", "invalid_job_input", None, "an object, got a string", id="text"),
        pytest.param({}, "invalid_job_input", None, "empty", id="empty"),
        pytest.param(
            {"promt": "Hi"}, "invalid_job_input", "promt", "did you mean prompt", id="misspelt"
        ),
        pytest.param(
            {"mesages": []}, "invalid_job_input", "mesages", "messages", id="misspelt messages"
        ),
        pytest.param(
            {"model": "a", "input": "text"}, "invalid_job_input", None, "route", id="input alone"
        ),
        pytest.param({"stream": True}, "invalid_job_input", None, "missing", id="no prompt"),
        pytest.param({"prompt": None}, "missing_parameter", "prompt", "required", id="null prompt"),
        pytest.param(
            {"sampling_params": {}}, "missing_parameter", "prompt", "required", id="only sampling"
        ),
        pytest.param(
            {"promt": "Hi", "sampling_params": {}},
            "unknown_parameter",
            "promt",
            "mean prompt",
            id="misspelt prompt with sampling",
        ),
        pytest.param(
            {"prompt": ""}, "invalid_parameter", "prompt", "1 character", id="empty prompt"
        ),
        pytest.param({"messages": []}, "invalid_parameter", "messages", "1 item", id="no messages"),
        pytest.param(
            {"messages": ["Hi"]}, "invalid_parameter", "messages[0]", "an object", id="text message"
        ),
        pytest.param(
            {"openai_route": "/v1/models", "prompt": "Hi"},
            "invalid_job_input",
            "prompt",
            "different shapes",
            id="two shapes",
        ),
        pytest.param(
            {"route": "/health", "messages": HELLO},
            "invalid_job_input",
            "messages",
            "different shapes",
            id="two shapes, generic",
        ),
        pytest.param(
            {"openai_input": {"messages": HELLO}},
            "missing_parameter",
            "openai_route",
            "required",
            id="gateway without route",
        ),
        pytest.param(
            {"openai_route": "/v1/chat/completions"},
            "missing_parameter",
            "openai_input",
            "needs a JSON body",
            id="gateway without body",
        ),
        pytest.param(
            {"openai_route": "/v1/chat/completions", "openai_input": [1]},
            "invalid_parameter",
            "openai_input",
            "an object or a string, got an array",
            id="gateway body of wrong type",
        ),
        pytest.param(
            {"openai_route": "/v1/chat/completions", "openai_input": "nonsense"},
            "invalid_parameter",
            "openai_input",
            "not a JSON object",
            id="gateway body of nonsense",
        ),
        pytest.param(
            {"openai_route": 5, "openai_input": {}},
            "invalid_parameter",
            "openai_route",
            "a string, got 5",
            id="route of wrong type",
        ),
        pytest.param(
            {"route": "/health", "metod": "GET"},
            "unknown_parameter",
            "metod",
            "mean method?",
            id="generic with misspelt member",
        ),
        pytest.param(
            {"route": "/nowhere", "body": {}}, "unknown_route", "route", "no route", id="no route"
        ),
    ],
)
def test_parse_job_bad_input_names_place_and_remedy(job_input, code, param, words):
    with pytest.raises(RequestError) as caught:
        parse(job_input)

    error = caught.value.body()["error"]
    assert (error["code"], error["param"]) == (code, param)
    assert words in error["message"]


def test_parse_job_unknown_shape_lists_accepted_shapes():
    with pytest.raises(RequestError) as caught:
        parse({"text": "Hi"})

    for part in ("prompt", "messages", "openai_route", "route"):
        assert f'{{"{part}": ' in caught.value.message


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({}, BATCHING),
        ({"max_batch_size": 10}, Batching(1, 10, 3.0)),
        ({"min_batch_size": 5, "batch_size_growth_factor": 2}, Batching(5, 50, 2)),
        ({"max_batch_size": 0, "min_batch_size": 0}, BATCHING),
        ({"batch_size_growth_factor": 1.5}, Batching(1, 50, 1.5)),
    ],
)
@pytest.mark.parametrize(
    "job_input",
    [
        {"prompt": "Hi"},
        {"openai_route": CHAT, "openai_input": {"messages": HELLO}},
        {"route": CHAT, "body": {"messages": HELLO}},
    ],
    ids=["native", "gateway", "generic"],
)
def test_parse_job_batching_request_over_default(job_input, knobs, expected):
    assert parse({**job_input, **knobs}).batching == expected


@pytest.mark.parametrize("value", ["10", 1.5, -1, True])
def test_parse_job_batching_wrong_type_is_refused(value):
    with pytest.raises(RequestError) as caught:
        parse({"prompt": "Hi", "max_batch_size": value})

    assert caught.value.param == "max_batch_size"


def test_parse_job_shrinking_growth_factor_is_refused():
    with pytest.raises(RequestError, match="at least 1"):
        parse({"prompt": "Hi", "batch_size_growth_factor": 0.5})


def test_parse_job_stream_follows_the_body():
    body = {"messages": HELLO, "stream": True}

    assert parse({"openai_route": CHAT, "openai_input": body}).stream
    assert not parse({"openai_route": CHAT, "openai_input": {"messages": HELLO}}).stream


def test_parse_job_control_route_opens_by_setting():
    job_input = {"route": "/sleep", "body": {}}

    with pytest.raises(RequestError) as caught:
        parse(job_input)
    assert (caught.value.code, caught.value.status) == ("route_closed", 403)
    assert parse(job_input, open_control_routes=True).path == "/sleep"
