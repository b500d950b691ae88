import math

import pytest

from worker.request import Batching, BestOf, RequestDefaults, build_reply, parse_job
from worker.request.best_of import mean_logprob, select_best
from worker.request.routes import CHAT

DEFAULTS = RequestDefaults(model="served", batching=Batching(1, 50, 3.0), max_tokens=16)


def text(index: int, logprobs: list[float | None]) -> dict:
    return {"index": index, "text": f"t{index}", "logprobs": {"token_logprobs": logprobs}}


def chat(index: int, logprobs: list[float]) -> dict:
    content = [{"token": "x", "logprob": value} for value in logprobs]
    return {"index": index, "message": {"content": f"t{index}"}, "logprobs": {"content": content}}


def body(choices: list[dict], prompt_tokens: int = 2) -> dict:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 9}
    return {"id": "1", "choices": choices, "usage": usage}


def texts(answer: dict) -> list[str]:
    return [c.get("text") or c["message"]["content"] for c in answer["choices"]]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (text(0, [-1.0, -3.0]), -2.0),
        (chat(0, [-1.0, -3.0]), -2.0),
        (text(0, [None, -3.0]), -3.0),
        (text(0, []), -math.inf),
        (chat(0, []), -math.inf),
        ({"logprobs": None}, -math.inf),
    ],
)
def test_mean_logprob_counts_known_tokens(choice, expected):
    assert mean_logprob(choice) == expected


@pytest.mark.parametrize("make", [text, chat])
def test_select_best_mean_beats_sum_and_order(make):
    # The sum would favour the short first sequence, the mean the long third.
    choices = [make(0, [-1.0]), make(1, [-2.0, -2.0]), make(2, [-0.5] * 6)]

    best = select_best(BestOf(keep=2, generated=3), body(choices))

    assert texts(best) == ["t2", "t0"]
    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    assert [choice["logprobs"] for choice in best["choices"]] == [None, None]
    assert best["usage"]["completion_tokens"] == 9


def test_select_best_requested_logprobs_stay():
    best = select_best(
        BestOf(keep=1, generated=2, drop_logprobs=False), body([text(0, [-2.0]), text(1, [-1.0])])
    )

    assert best["choices"][0]["logprobs"] == {"token_logprobs": [-1.0]}


def test_select_best_beams_keep_vllms_order():
    choices = [text(0, [-9.0]), text(1, [-1.0])]

    best = select_best(BestOf(keep=1, generated=2, ranked=True, drop_logprobs=False), body(choices))

    assert texts(best) == ["t0"]


def test_select_best_echoed_prompt_does_not_count():
    choices = [text(0, [None, -9.0, -2.0]), text(1, [None, -9.0, -1.0, -1.0])]

    best = select_best(BestOf(keep=1, generated=2, echoed=True), body(choices))

    assert texts(best) == ["t1"]


def test_select_best_each_prompt_keeps_its_own():
    choices = [text(0, [-3.0]), text(1, [-1.0]), text(2, [-5.0]), text(3, [-9.0])]

    best = select_best(BestOf(keep=1, generated=2), body(choices))

    assert texts(best) == ["t1", "t2"]


def test_select_best_equal_sequences_keep_their_order():
    choices = [text(0, [-1.0]), text(1, [-1.0]), text(2, [-1.0])]

    assert texts(select_best(BestOf(keep=2, generated=3), body(choices))) == ["t0", "t1"]


@pytest.mark.parametrize(
    "job_input",
    [
        {"messages": "Hi", "sampling_params": {"best_of": 2}},
        {"openai_route": CHAT, "openai_input": {"messages": "Hi", "best_of": 2}},
    ],
    ids=["native", "openai"],
)
def test_build_reply_returns_the_best(job_input):
    call = parse_job(job_input, DEFAULTS)

    reply = build_reply(call, body([chat(0, [-2.0]), chat(1, [-1.0])]))

    (choice,) = reply["choices"]
    assert (choice["tokens"][0] if call.shape == "native" else texts(reply)[0]) == "t1"
    assert not choice.get("logprobs")
