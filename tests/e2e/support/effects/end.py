"""Parameters that decide when a generation ends and what of it is shown."""

from __future__ import annotations

from tests.e2e.support.effects.choice import END_OF_TURN, A, B
from tests.e2e.support.parameters import Asker, Way, effect

SAY = {"structured_outputs": {"choice": ["Hello world, hello"]}, "max_tokens": 40}
ENDING = {"logit_bias": {str(END_OF_TURN): 100.0}}
TURN_START = 1


@effect("max_tokens")
async def length_is_bounded(ask: Asker) -> None:
    answer = await ask(max_tokens=3, ignore_eos=True)
    assert (answer.usage["output"], answer.first.finish) == (3, "length")


@effect("max_completion_tokens")
async def length_is_bounded_by_the_new_name(ask: Asker) -> None:
    answer = await ask(max_completion_tokens=3, max_tokens=None, ignore_eos=True)
    assert (answer.usage["output"], answer.first.finish) == (3, "length")


@effect("min_tokens")
async def the_end_is_held_back(ask: Asker) -> None:
    assert (await ask(**ENDING)).usage["output"] == 1
    assert (await ask(**ENDING, min_tokens=5)).usage["output"] == 6


@effect("ignore_eos")
async def the_end_is_ignored(ask: Asker) -> None:
    assert (await ask(**ENDING)).first.finish == "stop"
    answer = await ask(**ENDING, ignore_eos=True)
    assert (answer.usage["output"], answer.first.finish) == (8, "length")


@effect("stop")
async def stop_text_ends_and_is_left_out(ask: Asker) -> None:
    for stop in (" wor", ["nothing", " wor"]):
        sequence = (await ask(**SAY, stop=stop)).first
        assert (sequence.text, sequence.finish, sequence.stop_reason) == ("Hello", "stop", " wor")


@effect("include_stop_str_in_output")
async def stop_text_stays(ask: Asker) -> None:
    answer = await ask(**SAY, stop=" wor", include_stop_str_in_output=True)
    assert answer.text == "Hello wor"


@effect("stop_token_ids")
async def stop_token_ends(ask: Asker) -> None:
    sequence = (await ask(allowed_token_ids=[A], stop_token_ids=[A])).first
    assert (sequence.ids, sequence.finish, sequence.stop_reason) == ([A], "stop", A)


@effect("repetition_detection")
async def repetition_ends(ask: Asker) -> None:
    rule = {"max_pattern_size": 1, "min_pattern_size": 1, "min_count": 4}
    answer = await ask(allowed_token_ids=[A], max_tokens=40, repetition_detection=rule)
    assert 4 <= answer.usage["output"] < 40


@effect("skip_special_tokens")
async def special_tokens_are_shown(ask: Asker) -> None:
    special = {"logit_bias": {str(TURN_START): 100.0}, "max_tokens": 2}
    assert (await ask(**special)).text == ""
    assert (await ask(**special, skip_special_tokens=False)).text == "<|im_start|>" * 2


@effect("stream")
async def answer_comes_in_chunks(ask: Asker) -> None:
    outputs = await ask.stream(max_tokens=50, ignore_eos=True)
    if len(outputs) == 1:  # A busy machine may have had all of them before the first post.
        outputs = await ask.stream(max_tokens=800, ignore_eos=True)
    assert len(outputs) > 1


@effect("stream_interval")
async def events_hold_several_tokens(ask: Asker) -> None:
    fine, coarse = [
        len(await events(ask, stream_interval=interval, allowed_token_ids=[A, B], max_tokens=40))
        for interval in (1, 20)
    ]
    # On a busy machine vLLM puts into one event what has come meanwhile.
    assert coarse < min(10, fine)


@effect("stream_options", only=(Way.CHAT, Way.TEXT))
async def usage_comes_at_the_end(ask: Asker) -> None:
    plain = await events(ask)
    counted = await events(ask, stream_options={"include_usage": True})
    assert not any('"usage":{' in event for event in plain)
    assert '"completion_tokens":8' in counted[-2], counted[-2:]


async def events(ask: Asker, **parameters: object) -> list[str]:
    """Return a stream's events, or a native stream's texts, without regard to its chunks."""
    outputs = await ask.stream(ignore_eos=True, **parameters)
    if ask.way.is_native:
        return [text for output in outputs for text in output["choices"][0]["tokens"]]
    return [event for event in "".join(outputs).split("\n\n") if event]
