import json
import random

import pytest

from worker.request import (
    Batching,
    EngineRequest,
    NativeStream,
    RequestDefaults,
    build_reply,
    parse_job,
)
from worker.request.routes import CHAT

DEFAULTS = RequestDefaults(model="served", batching=Batching(1, 50, 3.0), max_tokens=16)
DONE = b"data: [DONE]\n\n"


def call_for(stream: bool = True, sampling: dict | None = None, **outer: object) -> EngineRequest:
    start = {} if "messages" in outer else {"prompt": "Hi"}
    job_input = {**start, "stream": stream, "sampling_params": sampling or {}, **outer}
    return parse_job(job_input, DEFAULTS)


def event(choices: list[dict], usage: tuple[int, int] | None = None, **more: object) -> bytes:
    chunk: dict[str, object] = {"id": "cmpl-1", "choices": choices, **more}
    if usage is not None:
        chunk["usage"] = {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        }
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def text(index: int, chunk: str, **more: object) -> dict:
    return {"index": index, "text": chunk, **more}


def delta(index: int, **parts: object) -> dict:
    finish = parts.pop("finish_reason", None)
    return {"index": index, "delta": parts, "finish_reason": finish}


def body(choices: list[dict], usage: tuple[int, int] = (3, 5), **more: object) -> dict:
    totals = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return {"id": "cmpl-1", "choices": choices, "usage": totals, **more}


def test_native_reply_completion_has_the_originals_shape():
    answer = body([text(0, " world", finish_reason="stop", stop_reason=None, logprobs=None)])

    assert build_reply(call_for(False), answer) == {
        "choices": [{"tokens": [" world"], "finish_reason": "stop"}],
        "usage": {"input": 3, "output": 5},
    }


def test_native_reply_several_sequences_stay_in_order():
    answer = body([text(0, "a", finish_reason="stop"), text(1, "b", finish_reason="length")])

    reply = build_reply(call_for(False, {"n": 2, "max_tokens": 5}), answer)

    assert [choice["tokens"] for choice in reply["choices"]] == [["a"], ["b"]]
    assert "warnings" not in reply


def test_native_reply_chat_adds_what_the_message_has():
    tool = {"id": "t", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {
        "role": "assistant",
        "content": None,
        "reasoning": "hm",
        "refusal": None,
        "tool_calls": [tool],
    }
    logprobs = {"content": [{"token": "a", "logprob": -0.1}]}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "tool_calls"}
    answer = body([choice], prompt_logprobs=[None])
    answer["usage"]["prompt_tokens_details"] = {"cached_tokens": 2}
    answer["usage"]["completion_tokens_details"] = {"reasoning_tokens": 1}

    assert build_reply(call_for(False, messages="Hi"), answer) == {
        "choices": [
            {
                "tokens": [""],
                "finish_reason": "tool_calls",
                "reasoning": "hm",
                "tool_calls": [tool],
                "logprobs": logprobs,
            }
        ],
        "usage": {"input": 3, "output": 5, "cached": 2, "reasoning": 1},
        "prompt_logprobs": [None],
    }


@pytest.mark.parametrize(
    ("sampling", "finish", "warned"),
    [({}, "length", True), ({}, "stop", False), ({"max_tokens": 16}, "length", False)],
)
def test_native_reply_cut_by_the_default_limit_has_a_warning(sampling, finish, warned):
    reply = build_reply(call_for(False, sampling), body([text(0, "a", finish_reason=finish)]))

    assert ("warnings" in reply) is warned
    if warned:
        assert "max_tokens" in reply["warnings"][0]


def test_build_reply_openai_shape_is_untouched():
    call = parse_job({"openai_route": CHAT, "openai_input": {"messages": "Hi"}}, DEFAULTS)
    answer = body([{"index": 0, "message": {"content": "a"}}])

    assert build_reply(call, answer) is answer


def test_stream_one_feed_per_event_gives_deltas_and_running_totals():
    stream = NativeStream(call_for(sampling={"max_tokens": 9}))

    assert stream.feed([event([text(0, "a")], (3, 1))]) == {
        "choices": [{"tokens": ["a"]}],
        "usage": {"input": 3, "output": 1},
    }
    assert stream.feed([event([text(0, "b")], (3, 2)), event([text(0, "c")], (3, 4))]) == {
        "choices": [{"tokens": ["b", "c"]}],
        "usage": {"input": 3, "output": 4},
    }
    assert stream.feed([event([text(0, "", finish_reason="stop", stop_reason=7)], (3, 4))]) == {
        "choices": [{"tokens": [], "finish_reason": "stop", "stop_reason": 7}],
        "usage": {"input": 3, "output": 4},
    }
    assert stream.feed([event([], (3, 4)), DONE]) is None
    assert stream.finished
    assert stream.error is None


def test_stream_sequences_and_prompts_add_up():
    stream = NativeStream(call_for(sampling={"n": 2}, prompt=["one", "two three"]))

    first = stream.feed([event([text(3, "x")], (4, 1)), event([text(0, "y")], (3, 2))])
    second = stream.feed([event([text(3, "z")], (4, 2)), event([text(2, "w")], (4, 5))])
    last = stream.feed([event([], (7, 10)), DONE])

    assert first["choices"] == [{"index": 0, "tokens": ["y"]}, {"index": 3, "tokens": ["x"]}]
    assert first["usage"] == {"input": 7, "output": 3}
    assert second["choices"] == [{"index": 2, "tokens": ["w"]}, {"index": 3, "tokens": ["z"]}]
    assert second["usage"] == {"input": 7, "output": 9}
    assert last == {"choices": [], "usage": {"input": 7, "output": 10}}


def test_stream_chat_start_brings_nothing_yet():
    stream = NativeStream(call_for(messages="Hi"))

    assert stream.feed([event([delta(0, role="assistant", content="")], (5, 0))]) is None
    assert stream.feed([event([delta(0, content="a")], (5, 1))])["usage"]["input"] == 5


def test_stream_chat_extras_are_lists_of_deltas():
    stream = NativeStream(call_for(messages="Hi"))
    call = {"index": 0, "id": "t", "function": {"name": "look", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": "{}"}}

    output = stream.feed(
        [
            event([delta(0, reasoning="h")]),
            event([delta(0, reasoning="m")]),
            event([delta(0, tool_calls=[call])]),
            event([delta(0, tool_calls=[more], finish_reason="tool_calls")]),
        ]
    )

    assert output["choices"] == [
        {
            "tokens": [],
            "reasoning": ["h", "m"],
            "tool_calls": [call, more],
            "finish_reason": "tool_calls",
        }
    ]


def test_stream_logprobs_and_token_ids_follow_the_deltas():
    stream = NativeStream(call_for())

    output = stream.feed(
        [
            event([text(0, "a", logprobs={"tokens": ["a"]}, token_ids=[1])]),
            event([text(0, "b", logprobs={"tokens": ["b"]}, token_ids=[2, 3])]),
        ]
    )

    assert output["choices"] == [
        {
            "tokens": ["a", "b"],
            "logprobs": [{"tokens": ["a"]}, {"tokens": ["b"]}],
            "token_ids": [1, 2, 3],
        }
    ]


def test_native_stream_cut_by_the_default_limit_has_one_warning():
    stream = NativeStream(call_for(sampling={"n": 2}))

    first = stream.feed([event([text(0, "a", finish_reason="length")])])
    second = stream.feed([event([text(1, "b", finish_reason="length")])])

    assert "max_tokens" in first["warnings"][0]
    assert "warnings" not in second


def test_stream_error_event_ends_it_and_keeps_what_came_before():
    stream = NativeStream(call_for())
    error = {"message": "no", "type": "BadRequestError", "param": "top_p", "code": 400}
    failed = b"data: " + json.dumps({"error": error}).encode() + b"\n\n"

    output = stream.feed([event([text(0, "a")]), failed, event([text(0, "b")]), DONE])

    assert output["choices"] == [{"tokens": ["a"]}]
    assert stream.error is not None
    assert stream.error.body()["error"] == {
        "message": "no",
        "type": "BadRequestError",
        "param": "sampling_params.top_p",
        "code": "invalid_request",
        "status": 400,
    }


def test_stream_keep_alive_comments_are_skipped():
    assert NativeStream(call_for()).feed([b": keep-alive\n\n"]) is None


def test_stream_nothing_fed_gives_nothing():
    assert NativeStream(call_for()).feed([]) is None


@pytest.mark.parametrize("seed", range(20))
def test_stream_any_split_of_any_text_joins_to_the_same(seed):
    pick = random.Random(seed)
    alphabet = ["a", " ", "\n", "ß", "é", "€", "漢", "😀", "👩‍🚀", '"', "\\", "\u2028"]
    chunks = [
        "".join(pick.choices(alphabet, k=pick.randint(1, 4))) for _ in range(pick.randint(1, 60))
    ]
    sequences = [pick.randrange(3) for _ in chunks]
    counts = [0, 0, 0]
    events = []
    for index, chunk in zip(sequences, chunks, strict=True):
        counts[index] += 1
        events.append(event([text(index, chunk)], (3, counts[index])))
    events += [event([], (3, len(chunks))), DONE]

    stream = NativeStream(call_for(sampling={"n": 3}))
    outputs = []
    while events:
        count = pick.randint(1, 8)
        output = stream.feed(events[:count])
        events = events[count:]
        if output is not None:
            outputs.append(json.loads(json.dumps(output)))

    for index in range(3):
        expected = [p for i, p in zip(sequences, chunks, strict=True) if i == index]
        listed = [c for o in outputs for c in o["choices"] if c["index"] == index]
        assert [t for choice in listed for t in choice["tokens"]] == expected
    totals = [output["usage"]["output"] for output in outputs]
    assert totals == sorted(totals)
    assert outputs[-1]["usage"] == {"input": 3, "output": len(chunks)}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_reasoning_before_structured_output_is_left_out_by_the_worker(stream):
    # vLLM would constrain them too if it omitted them.
    form = {"structured_outputs": {"choice": ["a"]}}
    call = call_for(stream, messages="Hi", include_reasoning=False, **form)
    assert "include_reasoning" not in call.body
    parts = {"reasoning": "hm", "content": "a"}
    if stream:
        reply = NativeStream(call).feed([event([delta(0, **parts)])])
    else:
        reply = build_reply(call, body([{"index": 0, "message": parts}]))
    assert reply["choices"][0]["tokens"] == ["a"]
    assert "reasoning" not in reply["choices"][0]


def test_reasoning_without_structured_output_is_left_out_by_vllm():
    call = call_for(messages="Hi", include_reasoning=False)
    assert call.body["include_reasoning"] is False
    assert not call.drop_reasoning


TIMES = {"time_to_first_token_ms": 9.0, "queue_time_ms": 1.5}


def test_native_reply_keeps_the_times_if_vllm_sends_them():
    answer = body([text(0, "a", finish_reason="stop")], metrics=TIMES)

    assert build_reply(call_for(False), answer)["metrics"] == TIMES


def test_native_stream_ends_with_the_times_if_vllm_sends_them():
    stream = NativeStream(call_for())
    stream.feed([event([text(0, "a", finish_reason="stop")], (3, 1))])

    last = stream.feed([event([], (3, 1), metrics=TIMES), DONE])

    assert last is not None
    assert last["metrics"] == TIMES
