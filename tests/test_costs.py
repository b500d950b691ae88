"""Worst inputs at two sizes: a cost grows with the size of an input, whatever it holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import pytest

from tests.support.costs import SCALE, Run, assert_proportional, is_proportional
from worker.errors import RequestError
from worker.request import Batching, NativeStream, RequestDefaults, parse_job
from worker.request.engine_error import map_engine_error
from worker.request.json_value import check_json

DEFAULTS = RequestDefaults("tiny", Batching(1, 50, 3.0), max_tokens=16)
STRICT = dataclasses.replace(DEFAULTS, reject_unknown=True)


def test_is_proportional_finds_a_quadratic_cost():
    def pairs(size: int) -> Run:
        return lambda: sum(1 for _first in range(size) for _second in range(size))

    assert not is_proportional(pairs(100), pairs(100 * SCALE))


def refuse(job_input: Any, defaults: RequestDefaults = DEFAULTS) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse_job(job_input, defaults)
    return caught.value


def unfoldable(levels: int, members: dict[str, Any]) -> Any:
    for _ in range(levels):
        members = {"extra_body": members}
    return members


def nest(levels: int) -> Any:
    value: Any = None
    for _ in range(levels):
        value = {"a": [value]}
    return value


VALUES: dict[str, Callable[[int], Any]] = {
    "wide": lambda size: [None] * size,
    "wide below a long name": lambda size: {"k" * 10 * size: [None] * size},
    "long names below a long name": lambda size: {
        "k" * size: {f"{number:09}" * 10: {} for number in range(size // 10)}
    },
    "empty containers": lambda size: {"k" * size: [[] for _ in range(size)]},
    "deep, many times": lambda size: [nest(45) for _ in range(size // 50)],
    "numbers": lambda size: [2**63] * size,
    "text": lambda size: "ä" * 10 * size,
}


@pytest.mark.parametrize("build", VALUES.values(), ids=VALUES)
def test_check_json_worst_value_costs_in_proportion(build):
    def prepare(size: int) -> Run:
        value = {"a": build(size)}
        return lambda: check_json(value)

    assert_proportional(prepare, 100_000)


INPUTS: dict[str, Callable[[int], Any]] = {
    "wrong texts": lambda size: {"prompt": "x", "structured_outputs": {"choice": [1] * size}},
    "wrong objects": lambda size: {"messages": "x", "tools": [1] * size},
    "wrong numbers": lambda size: {
        "prompt": "x",
        "sampling_params": {"logit_bias": {str(number): "x" for number in range(size)}},
    },
    "wrong values below a long name": lambda size: {
        "prompt": "x",
        "sampling_params": {"extra_args": {"k" * 10 * size: [None] * size}},
    },
    "wrong documents": lambda size: {
        "messages": "x",
        "documents": [{"k" * 10: number} for number in range(size)],
    },
    "wrong prompts": lambda size: {"prompt": [[1]] * size + ["x"]},
    "unknown names": lambda size: {"prompt": "x", **{f"{n:09}" * 10: 1 for n in range(size)}},
    "misspelt names": lambda size: {
        "prompt": "x",
        "sampling_params": {f"max_token_{n}": 1 for n in range(size)},
    },
    "misspelt names of a body": lambda size: {
        "route": "/v1/chat/completions",
        "body": {"messages": [], **{f"max_token_{n}": 1 for n in range(size)}},
    },
    "unknown names to unfold": lambda size: {
        "route": "/v1/chat/completions",
        "body": {"extra_body": {"options": {f"k{n}": n for n in range(size)}}},
    },
    "unknown names of sampling": lambda size: {
        "prompt": "x",
        "options": {"sampling_params": {f"k{n}": n for n in range(size)}},
    },
    "unknown names next to a route": lambda size: {
        "route": "/tokenize",
        "body": {},
        **{f"k{n}": n for n in range(size)},
    },
    "deep extra_body": lambda size: {
        "prompt": "x",
        "extra_body": unfoldable(90, {f"k{n}": n for n in range(size)}),
    },
    "long name of dots": lambda size: {"prompt": "x", "." * 100 * size: 1},
    "deep": lambda size: {"prompt": nest(size)},
    "broken text": lambda size: {"k" * size: {"l" * size: "a" * 10 * size + "\ud800"}},
}


@pytest.mark.parametrize("build", INPUTS.values(), ids=INPUTS)
def test_parse_job_worst_input_costs_in_proportion(build):
    def prepare(size: int) -> Run:
        job_input = build(size)
        return lambda: refuse(job_input, STRICT)

    assert len(refuse(build(1000), STRICT).json()) < 10_000
    assert_proportional(prepare, 20_000)


@pytest.mark.parametrize(
    ("job_input", "first", "count"),
    [
        (
            {"prompt": "x", "structured_outputs": {"choice": [1] * 8000}},
            "structured_outputs.choice[0]",
            8000,
        ),
        ({"messages": "x", "tools": [{}, *[1] * 8000]}, "tools[1]", 8000),
        (
            {"prompt": "x", "sampling_params": {"logit_bias": {str(i): "x" for i in range(8000)}}},
            "sampling_params.logit_bias.0",
            8000,
        ),
    ],
)
def test_parse_job_many_problems_names_the_first_and_counts_the_others(job_input, first, count):
    error = refuse(job_input)

    assert error.param == first
    assert len(error.extra["problems"]) == 10
    assert error.message.endswith(f"; and {count - 10} more")


MESSAGES: dict[str, Callable[[int], str]] = {
    "model of line ends": lambda size: f"The model `{chr(10) * size}` does not exist.",
    "spaces": lambda size: " " * size + "x",
    "brackets": lambda size: "[" * size,
    "closed brackets": lambda size: "[" * size + "]" * size,
    "braces, line by line": lambda size: "{]\n" * size,
    "list": lambda size: f"Bad ids: {['a'] * (size // 5)}",
    "object": lambda size: f"Bad: {dict.fromkeys(map(str, range(size // 10)), 'x')}",
    "findings": lambda size: "\n".join(
        [
            "9 validation errors:",
            *["  {'loc': 'body.n', 'msg': 'Bad', 'input': [1]}"] * (size // 40),
        ]
    ),
    "finding with a long input": lambda size: (
        f"  {{'loc': 'n', 'msg': 'Bad', 'input': '{'x' * size}'}}"
    ),
    "pydantic's ends": lambda size: " [type=a" * (size // 8),
    "parameters": lambda size: " (parameter=a, value=" * (size // 20) + ")",
    "objects": lambda size: "<a object " * (size // 10),
    "options": lambda size: "--a-a" * (size // 5),
}


@pytest.mark.parametrize("build", MESSAGES.values(), ids=MESSAGES)
def test_map_engine_error_worst_message_costs_in_proportion(build):
    call = parse_job({"route": "/v1/completions", "body": {"prompt": "x"}}, DEFAULTS)

    def prepare(size: int) -> Run:
        body = orjson.dumps({"error": {"message": build(size)}})
        return lambda: map_engine_error(404, body, call)

    assert len(prepare(9000)().json()) < 10_000
    assert_proportional(prepare, 100_000)


def test_map_engine_error_long_message_keeps_code_and_cause():
    call = parse_job({"route": "/v1/completions", "body": {"prompt": "x"}}, DEFAULTS)
    absent = {"error": {"message": MESSAGES["model of line ends"](80_000)}}
    finding = {"error": {"message": MESSAGES["finding with a long input"](80_000)}}

    assert map_engine_error(404, orjson.dumps(absent), call).code == "model_not_found"
    assert map_engine_error(400, orjson.dumps(finding), call).message == "n: Bad"


def test_native_stream_many_sequences_post_in_proportion_to_their_text():
    def post(sequences: int) -> int:
        call = parse_job(
            {"prompt": "x", "stream": True, "sampling_params": {"n": sequences}}, DEFAULTS
        )
        stream = NativeStream(call)
        usage = {"prompt_tokens": 1, "completion_tokens": 1}
        events = [
            b"data: %b\n\n"
            % orjson.dumps({"choices": [{"index": index, "text": "word"}], "usage": usage})
            for index in range(sequences)
        ]
        outputs = [stream.feed(events[start : start + 50]) for start in range(0, sequences, 50)]
        assert outputs[-1]["usage"]["output"] == sequences
        return len(orjson.dumps(outputs))

    assert post(1000) < 1000 * 50
    assert post(2000) < 2.1 * post(1000)
    assert_proportional(lambda size: lambda: post(size), 4000)


def schema(size: int) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": {"enum": ["x" * 9] * (size // 13)}}}


def tool(size: int, **more: object) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": schema(size), **more}}


CHAT_BODIES: dict[str, Callable[[int], dict[str, Any]]] = {
    "choice": lambda size: {"structured_outputs": {"choice": ["x" * 9] * (size // 12)}},
    "json": lambda size: {"structured_outputs": {"json": schema(size)}},
    "json text": lambda size: {"structured_outputs": {"json": orjson.dumps(schema(size)).decode()}},
    "regex": lambda size: {"structured_outputs": {"regex": "a" * size}},
    "grammar": lambda size: {"structured_outputs": {"grammar": "a" * size}},
    "structural tag": lambda size: {"structured_outputs": {"structural_tag": "a" * size}},
    "response_format": lambda size: {
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema(size)}}
    },
    "strict tool": lambda size: {"tools": [tool(size, strict=True)]},
    "demanded tool": lambda size: {"tools": [tool(size)], "tool_choice": "required"},
    "named tool": lambda size: {
        "tools": [tool(size)],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
    },
    "many tools": lambda size: {"tools": [tool(99)] * (size // 80), "tool_choice": "required"},
}
OTHER_BODIES: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "responses": (
        "/v1/responses",
        lambda size: {
            "input": "x",
            "text": {"format": {"type": "json_schema", "schema": schema(size)}},
        },
    ),
    "messages": (
        "/v1/messages",
        lambda size: {
            "messages": [],
            "max_tokens": 5,
            "tools": [{"name": "f", "input_schema": schema(size)}],
            "tool_choice": {"type": "any"},
        },
    ),
}
Build = Callable[[int], dict[str, Any]]


def on_route(route: str, build: Build, size: int) -> dict[str, Any]:
    return {"route": route, "body": build(size)}


def in_chat(build: Build, size: int) -> dict[str, Any]:
    return {"route": "/v1/chat/completions", "body": {"messages": "x", **build(size)}}


def in_native_input(build: Build, size: int) -> dict[str, Any]:
    return {"messages": "x", **build(size)}


GRAMMARS: dict[str, Build] = {
    **{f"chat, {name}": partial(in_chat, build) for name, build in CHAT_BODIES.items()},
    **{f"native, {name}": partial(in_native_input, build) for name, build in CHAT_BODIES.items()},
    **{name: partial(on_route, route, build) for name, (route, build) in OTHER_BODIES.items()},
}


@pytest.mark.parametrize("build", GRAMMARS.values(), ids=GRAMMARS)
def test_parse_job_large_grammar_is_refused(build):
    limit = DEFAULTS.max_grammar_bytes
    error = refuse(build(2 * limit))

    assert (error.code, error.status) == ("grammar_too_large", 400)
    assert error.param.split(".")[0] in ("structured_outputs", "response_format", "tools", "text")
    parse_job(build(limit // 2), DEFAULTS)
    assert_proportional(lambda size: lambda: refuse(build(size)), 2 * SCALE * limit)
