"""Every request parameter shows its effect with real vLLM, in every way that takes it."""

from __future__ import annotations

import pytest

from tests.e2e.support.deployment import Api
from tests.e2e.support.effects import answer, choice, end
from tests.e2e.support.parameters import Asker, Check, Way, list_cases

pytestmark = pytest.mark.asyncio(loop_scope="session")

CASES = [case for module in (choice, end, answer) for case in list_cases(module.__name__)]


@pytest.mark.parametrize(("check", "way"), CASES)
async def test_parameter_has_its_effect(api: Api, check: Check, way: Way) -> None:
    await check(Asker(api, way))


async def test_letters_have_the_ids_that_the_effects_assume(api: Api) -> None:
    body = {"tokens": list(choice.LETTERS.values())}
    job = await api.runsync({"route": "/detokenize", "body": body})
    assert job["output"][0]["prompt"] == "".join(choice.LETTERS)
