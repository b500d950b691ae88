"""Parameters of models that think before they answer, or fill gaps in a text."""

from __future__ import annotations

from typing import Any

from tests.e2e.support.parameters import Asker, Way, effect
from tests.e2e.support.tiny_model import THINKING, VOCABULARY

END_OF_THOUGHTS = VOCABULARY + 1
"""Id of `</think>`."""

THINK_THEN_SAY: dict[str, Any] = {
    # Thoughts are free; the form holds for what follows them.
    "structured_outputs": {"choice": ["So be it."]},
    "thinking_token_budget": 6,
    "max_tokens": 60,
}


@effect("thinking_token_budget")
async def thoughts_end_at_their_budget(ask: Asker) -> None:
    answer = await ask(**THINK_THEN_SAY)
    if ask.way.is_chat:
        assert answer.text == "So be it."
        assert answer.first.reasoning
        assert answer.first.ids.index(END_OF_THOUGHTS) <= 7
    else:
        thinking = await ask(prompt=f"{THINKING[0]}Well", **THINK_THEN_SAY)
        assert thinking.text.endswith(f"{THINKING[1]}So be it.")
        assert thinking.first.ids.index(END_OF_THOUGHTS) <= 7


@effect("include_reasoning")
async def thoughts_are_left_out(ask: Asker) -> None:
    thinking = {"thinking_token_budget": 6, "max_tokens": 20, "ignore_eos": True}
    assert (await ask(**thinking)).first.reasoning
    answer = await ask(**thinking, include_reasoning=False)
    assert answer.first.reasoning is None
    assert answer.text


@effect("include_reasoning", only=(Way.MESSAGES,))
async def thoughts_before_a_form_are_left_out(ask: Asker) -> None:
    answer = await ask(**THINK_THEN_SAY, include_reasoning=False)
    assert answer.text == "So be it."
    assert answer.first.reasoning is None
    outputs = await ask.stream(**THINK_THEN_SAY, include_reasoning=False)
    choices = [output["choices"][0] for output in outputs]
    assert "".join("".join(choice["tokens"]) for choice in choices) == "So be it."
    assert not any("reasoning" in choice for choice in choices)


@effect("suffix")
async def gap_before_the_suffix_is_filled(ask: Asker) -> None:
    plain = await ask(prompt="def f(")
    gap = await ask(prompt="def f(", suffix="return x")
    job = await ask.api.runsync({"route": "/detokenize", "body": {"tokens": gap.prompt_ids}})
    text = job["output"][0]["prompt"]
    assert text.index("def f(") < text.index("return x")
    assert gap.usage["input"] > plain.usage["input"]
