"""Parameters that decide which tokens are chosen."""

from __future__ import annotations

import asyncio

from tests.e2e.support.parameters import Asker, effect

LETTERS = {"a": 67, "b": 68, "c": 69}
"""Single characters of the tiny tokenizer, by id; a test holds them to it."""

A, B, C = LETTERS.values()
END_OF_TURN = 2


MOSTLY_A = {"allowed_token_ids": [A, B], "logit_bias": {str(A): 1.0}, "max_tokens": 40}
"""Makes of the tiny model, to which all tokens are alike, one that says `a` three times in four."""


@effect("temperature")
async def cold_is_certain_and_hot_is_not(ask: Asker) -> None:
    assert set((await ask(**MOSTLY_A, temperature=0)).text) == {"a"}
    assert set((await ask(**MOSTLY_A, temperature=0.01)).text) == {"a"}
    assert set((await ask(**MOSTLY_A, temperature=2.0)).text) == {"a", "b"}


@effect("top_k")
async def one_token_is_the_likeliest(ask: Asker) -> None:
    assert set((await ask(**MOSTLY_A, top_k=-1)).text) == {"a", "b"}
    assert set((await ask(**MOSTLY_A, top_k=1)).text) == {"a"}


@effect("top_p")
async def half_of_the_mass_is_the_likeliest(ask: Asker) -> None:
    assert set((await ask(**MOSTLY_A, top_p=1.0)).text) == {"a", "b"}
    assert set((await ask(**MOSTLY_A, top_p=0.5)).text) == {"a"}


@effect("min_p")
async def half_of_the_best_is_the_likeliest(ask: Asker) -> None:
    assert set((await ask(**MOSTLY_A, min_p=0.1)).text) == {"a", "b"}
    assert set((await ask(**MOSTLY_A, min_p=0.5)).text) == {"a"}


@effect("seed")
async def seed_repeats_the_choice(ask: Asker) -> None:
    seeds = (1, 1, 2)
    first, again, other = await asyncio.gather(*(ask(seed=s, ignore_eos=True) for s in seeds))
    assert first.text == again.text != other.text


@effect("n")
async def n_sequences_come_back(ask: Asker) -> None:
    answer = await ask(n=3, ignore_eos=True)
    assert len({sequence.text for sequence in answer.sequences}) == 3
    assert answer.usage["output"] == 3 * 8


@effect("best_of")
async def the_likeliest_of_best_of_come_back(ask: Asker) -> None:
    generated = (await ask(n=6, seed=5, logprobs=0, ignore_eos=True)).sequences
    ranked = sorted(generated, key=lambda s: sum(s.chosen) / len(s.chosen), reverse=True)
    answer = await ask(n=2, best_of=6, seed=5, ignore_eos=True)
    assert [s.text for s in answer.sequences] == [s.text for s in ranked[:2]]
    assert answer.usage["output"] == 6 * 8
    assert not answer.first.chosen, "unrequested log-probabilities"


@effect("use_beam_search")
async def beams_are_likelier_than_greedy(ask: Asker) -> None:
    path = (await ask(temperature=0, logprobs=0, ignore_eos=True)).first
    answer = await ask(use_beam_search=True, n=3, logprobs=1, ignore_eos=True)
    totals = [sum(sequence.chosen) for sequence in answer.sequences]
    assert len({sequence.text for sequence in answer.sequences}) == 3
    assert totals == sorted(totals, reverse=True)
    assert totals[0] >= sum(path.chosen) - 1e-3


@effect("length_penalty")
async def long_beams_are_favoured(ask: Asker) -> None:
    # Wide enough for the end of the sequence to be among the beams.
    beams = {"use_beam_search": True, "best_of": 190, "max_tokens": 2}
    assert (await ask(**beams, length_penalty=0.0)).first.finish == "stop"
    assert (await ask(**beams, length_penalty=30.0)).first.finish == "length"


@effect("presence_penalty", "frequency_penalty")
async def penalties_avoid_what_was_said(ask: Asker) -> None:
    bias = {str(A): 1.0}
    plain = await ask(temperature=0, logit_bias=bias, allowed_token_ids=[A, B])
    assert set(plain.first.ids) == {A}
    for name in ("presence_penalty", "frequency_penalty"):
        parameters = {name: 2.0}
        other = await ask(temperature=0, logit_bias=bias, allowed_token_ids=[A, B], **parameters)
        assert set(other.first.ids) == {A, B}


@effect("repetition_penalty")
async def repetition_penalty_avoids_what_was_said(ask: Asker) -> None:
    bias = {str(A): 2.0, str(B): 1.5}
    choice = {"temperature": 0, "logit_bias": bias, "allowed_token_ids": [A, B]}
    assert set((await ask(**choice)).first.ids) == {A}
    assert B in (await ask(**choice, repetition_penalty=100.0)).first.ids


@effect("logit_bias")
async def bias_decides(ask: Asker) -> None:
    assert (await ask(logit_bias={str(A): 100.0})).first.ids == [A] * 8


@effect("allowed_token_ids")
async def only_allowed_tokens_come(ask: Asker) -> None:
    answer = await ask(allowed_token_ids=[A, B, C], max_tokens=30)
    assert set(answer.first.ids) == {A, B, C}


@effect("bad_words")
async def bad_words_do_not_come(ask: Asker) -> None:
    answer = await ask(allowed_token_ids=[A, B, C], bad_words=["a", "c"], max_tokens=20)
    assert answer.text == "b" * 20


@effect("structured_outputs")
async def output_has_the_form(ask: Asker) -> None:
    forms = (
        ({"choice": ["ab"]}, "ab"),
        ({"regex": "b{3}c"}, "bbbc"),
        ({"grammar": 'root ::= "ca" "b"'}, "cab"),
        ({"json": {"const": 7}}, "7"),
    )
    for form, text in forms:
        assert (await ask(structured_outputs=form, max_tokens=30)).text.strip() == text, form


@effect("response_format")
async def answer_has_the_format(ask: Asker) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 7}}}
    assert (await ask(response_format=form, max_tokens=30)).text.strip() == "7"
