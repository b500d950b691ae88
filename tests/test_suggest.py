from pathlib import Path

import pytest

import worker
from worker.suggest import CERTAIN, HINT, MAX_NAME_CHARS, MAX_SUGGESTIONS, did_you_mean, suggest

KNOWN = ("max_tokens", "min_tokens", "temperature", "top_k", "top_p", "stop")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_token", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("MAX-TOKENS", "max_tokens"),
        ("temprature", "temperature"),
        ("topK", "top_k"),
        ("top-p", "top_p"),
    ],
)
def test_suggest_misspelt_name_is_found(name, meant):
    assert suggest(name, KNOWN)[0] == meant


@pytest.mark.parametrize("name", ["provider", "safety_identifier", "", "x" * MAX_NAME_CHARS])
def test_suggest_unrelated_name_has_no_suggestion(name):
    assert suggest(name, KNOWN) == ()


def test_suggest_returns_known_names_as_they_are_written():
    assert suggest("rtx 4080", ["RTX 4090", "A100"]) == ("RTX 4090",)


def test_suggest_cutoff_decides_how_near_a_name_must_be():
    assert suggest("bf16", ["bfloat16"]) == ()
    assert suggest("bf16", ["bfloat16"], HINT) == ("bfloat16",)
    assert suggest("stopp", ["stop"]) == ("stop",)
    assert suggest("stopp", ["stop"], CERTAIN) == ()


def test_suggest_returns_the_three_nearest_names_whatever_their_order():
    known = [f"name_{letter}" for letter in "abcdef"]

    assert len(suggest("name_x", known)) == MAX_SUGGESTIONS
    assert suggest("name_x", known) == suggest("name_x", known[::-1])


def test_suggest_name_longer_than_all_known_ones_is_not_compared():
    name = "max_tokens" + "s" * MAX_NAME_CHARS

    assert suggest(name, [name]) == ()


def test_did_you_mean_names_all_or_says_nothing():
    assert did_you_mean(("a", "b")) == " Did you mean a or b?"
    assert did_you_mean(()) == ""


def test_names_are_compared_in_one_module_only():
    package = Path(worker.__file__).parent
    users = [path for path in package.rglob("*.py") if "get_close_matches" in path.read_text()]

    assert users == [package / "suggest.py"]
