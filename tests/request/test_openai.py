import pytest

from worker.errors import RequestError
from worker.request import Batching, BestOf, RequestDefaults, parse_job
from worker.request.openai import OBJECTS, complete_body, known_fields
from worker.request.removed import REMOVED, RENAMED, UNREACHABLE
from worker.request.routes import CHAT, COMPLETIONS, ROUTES

DEFAULTS = RequestDefaults(model="served", batching=Batching(1, 50, 3.0), max_tokens=16)
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("route", "body", "expected"),
    [
        pytest.param(CHAT, {"messages": HELLO}, {"messages": HELLO, "model": "served"}, id="model"),
        pytest.param(
            CHAT,
            {"messages": HELLO, "model": None},
            {"messages": HELLO, "model": "served"},
            id="null model",
        ),
        pytest.param(
            CHAT,
            {"messages": "Hello", "model": "a"},
            {"messages": HELLO, "model": "a"},
            id="messages as text",
        ),
        pytest.param(
            CHAT,
            {"messages": HELLO, "model": "a", "store": True, "metadata": {}, "x": 1, "foo": None},
            {"messages": HELLO, "model": "a", "store": True, "metadata": {}, "x": 1, "foo": None},
            id="names that mean nothing here pass",
        ),
        pytest.param(
            CHAT,
            {"messages": HELLO, "model": "a", "early_stopping": False, "guided_json": None},
            {"messages": HELLO, "model": "a"},
            id="harmless remains are dropped",
        ),
        pytest.param(
            CHAT,
            {"messages": HELLO, "model": "a", "n": 2, "best_of": 2},
            {"messages": HELLO, "model": "a", "n": 2},
            id="best_of equal to n",
        ),
        pytest.param(
            "/v1/messages",
            {"messages": "Hello", "max_tokens": 5},
            {"messages": "Hello", "max_tokens": 5, "model": "served"},
            id="messages as text only on chat",
        ),
        pytest.param("/sleep", {"level": 1}, {"level": 1}, id="route without captured fields"),
    ],
)
def test_complete_body_good_body_gives_body_to_send(route, body, expected):
    assert complete_body(route, body, DEFAULTS)[:2] == (expected, None)


@pytest.mark.parametrize(
    ("route", "names", "code", "words"),
    [
        (CHAT, {"max_token": 5}, "unknown_parameter", "mean max_tokens"),
        (CHAT, {"temprature": 5}, "unknown_parameter", "mean temperature"),
        (CHAT, {"guided_json": {}}, "removed_parameter", "structured_outputs"),
        (COMPLETIONS, {"guided_choice": ["a"]}, "removed_parameter", '{"choice"'),
        (CHAT, {"functions": [{}]}, "removed_parameter", "tools"),
        (CHAT, {"early_stopping": True}, "removed_parameter", "false"),
        (CHAT, {"prompt": "Hi"}, "unsupported_parameter", "send messages"),
        (CHAT, {"sampling_params": {"n": 2}}, "unsupported_parameter", "parameters"),
        (CHAT, {"extra_args": {"a": 1}}, "unsupported_parameter", "vllm_xargs"),
        (CHAT, {"suffix": "a"}, "unsupported_parameter", "/v1/completions"),
        (COMPLETIONS, {"messages": HELLO}, "unsupported_parameter", "send prompt"),
        (COMPLETIONS, {"tools": [{}]}, "unsupported_parameter", "/v1/chat/completions"),
        ("/v1/responses", {"max_tokens": 5}, "unsupported_parameter", "max_output_tokens"),
        ("/v1/messages", {"stop": "a"}, "unsupported_parameter", "stop_sequences"),
        ("/v1/embeddings", {"dimension": 5}, "unknown_parameter", "mean dimensions"),
        ("/tokenize", {"stream": True}, "unsupported_parameter", "does not stream"),
        (CHAT, {"stream": "true"}, "invalid_parameter", "true or false"),
        (CHAT, {"stream": 1}, "invalid_parameter", "true or false"),
        (CHAT, {"messages": 5}, "invalid_parameter", "an integer"),
        (COMPLETIONS, {"structured_outputs": []}, "invalid_parameter", "an array"),
        (CHAT, {"stream_options": "x"}, "invalid_parameter", "a string"),
        (CHAT, {"best_of": "3"}, "invalid_parameter", "a string"),
        (CHAT, {"best_of": 1, "n": 2}, "invalid_parameter", "at least n"),
        (CHAT, {"best_of": True}, "invalid_parameter", "a boolean"),
        (CHAT, {"best_of": 2, "stream": True}, "conflicting_parameters", "stream: false"),
        (CHAT, {"best_of": 2, "temperature": 0}, "conflicting_parameters", "must be 1"),
        (
            CHAT,
            {"use_beam_search": True, "stream": True},
            "conflicting_parameters",
            "stream: false",
        ),
        (
            COMPLETIONS,
            {"use_beam_search": True, "stream": True},
            "conflicting_parameters",
            "stream: false",
        ),
        (
            COMPLETIONS,
            {"best_of": 2, "echo": True, "prompt": ["a"]},
            "conflicting_parameters",
            "single text",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_complete_body_ignored_name_is_refused_with_remedy(route, names, code, words):
    with pytest.raises(RequestError) as caught:
        complete_body(route, names, DEFAULTS)

    assert (caught.value.code, caught.value.param) == (code, next(iter(names)))
    assert words in caught.value.message


def test_complete_body_every_known_and_official_name_passes():
    for route, fields in known_fields().items():
        names = fields.known | fields.official - {"best_of"} - REMOVED.keys()
        body = {name: [] if name == "messages" else False for name in names - OBJECTS}

        assert complete_body(route, body, DEFAULTS)[0].keys() == body.keys()


@pytest.mark.parametrize(
    ("route", "body", "sent", "selection"),
    [
        (
            CHAT,
            {"messages": HELLO, "best_of": 3},
            {"n": 3, "logprobs": True},
            BestOf(keep=1, generated=3),
        ),
        (
            COMPLETIONS,
            {"prompt": "a", "n": 2, "best_of": 3, "echo": True},
            {"n": 3, "logprobs": 0},
            BestOf(keep=2, generated=3, echoed=True),
        ),
        (
            COMPLETIONS,
            {"prompt": "a", "best_of": 3, "logprobs": 0},
            {"n": 3, "logprobs": 0},
            BestOf(keep=1, generated=3, drop_logprobs=False),
        ),
        (
            COMPLETIONS,
            {"prompt": "a", "best_of": 3, "use_beam_search": True, "temperature": 0},
            {"n": 3},
            BestOf(keep=1, generated=3, ranked=True, drop_logprobs=False),
        ),
    ],
)
def test_complete_body_best_of_becomes_more_sequences(route, body, sent, selection):
    complete, found, _ = complete_body(route, body, DEFAULTS)

    assert {name: complete[name] for name in sent} == sent
    assert "best_of" not in complete
    assert found == selection


def test_parse_job_body_errors_have_paths_within_the_body():
    with pytest.raises(RequestError) as caught:
        parse_job({"openai_route": CHAT, "openai_input": {"max_token": 1}}, DEFAULTS)

    assert caught.value.param == "max_token"


def test_captured_routes_are_all_classified():
    classified = {route.path: set(route.methods) for route in ROUTES}

    unclassified = known_fields().keys() - classified.keys()
    not_in_this_build = classified.keys() - known_fields().keys()

    assert not unclassified
    # An optional package or FastAPI itself brings these.
    assert not_in_this_build == {"/cohere/v2/chat", "/openapi.json"}


def test_tables_of_dead_names_hold_no_living_one():
    for table in (REMOVED, UNREACHABLE):
        for route in (CHAT, COMPLETIONS):
            assert not table.keys() & known_fields()[route].known
    for route, names in RENAMED.items():
        assert not names.keys() & known_fields()[route].known
