"""A lint for phrases that are not plain technical English, over all text written by hand."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

BANNED = {
    r", so that ": "two sentences, or `to`",
    r"\bwhoever\b": "`anybody who`, or name who it is",
    r"\banew\b": "`again`",
    r"\bin vain\b": "what fails",
    r"\bbe had\b": "`is available`",
    r"\bworth a word\b": "what is reported",
    r"\bone that is none\b": "what it is",
    r"\bthe way that it\b": "`how it`",
    r"\b(is|are|was|were) told\b|\btold to\b": "`gets`, `reports` or the command",
    r"\btells? whether\b": "`return whether`",
    r"\blooks? at\b": "`checks`, `reads` or `polls`",
    r"\bwhat (it|they) (is|are|was|were)\b": "the thing itself",
    r"\bin (the|its) place of\b|\bin its place\b": "`instead of`",
    r"\bfor want of\b": "`without`",
    r"beside(?!s)": "`next to`, `in addition to`, `with`, `during` or `in parallel with`",
    r"\bput off\b": "`delayed`",
    r"\bsenseless\b": "what is invalid",
    r"\bin jerks\b": "`unevenly`",
    r"\b(the )?peer('s)?\b|\bthe original (worker|'s)": "`worker-vllm`",
    r"\b(machine 0|catalogue|retells?|lifeline|wishes)\b": "the standard term",
    r"\bgo(es|ing)? on\b": "`continue` or `resume`",
    r"\bfor ever\b": "`forever`",
    r"\bby turns\b": "`alternately`, `take turns`",
    r"\bthe one before\b": "`the previous one`",
    r"\bswitch(es|ed)? (it|this|them) off\b": "`turn off`",
    r"\b(some|no)body (set|asked)\b": "`is set`, `is not set`",
    r"\ba fault of the (worker|model|engine)\b": "`a bug in`",
    r"\bin any case of letters\b": "`in upper or lower case`",
    r"(?<!there )\b(is|are|was|were|be) no (?!longer|more|one\b)": "`is not a`",
}
"""Pattern for text in lower case -> what to write instead."""

WRITTEN_BY_OTHERS = ("worker/vllm_options/schema.json", "docs/engine-options.md", "schemas/")
"""Descriptions that come from vLLM."""


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """Return the text files of the repository, without those whose text is vLLM's or recorded."""
    names = ["ls-files", "*.py", "*.md", "*.j2", "*.yaml", "Makefile", "Dockerfile"]
    listed = subprocess.run(["git", *names], cwd=ROOT, capture_output=True, text=True, check=True)
    return {
        name: (ROOT / name).read_text(encoding="utf-8").lower()
        for name in listed.stdout.splitlines()
        if not name.startswith(WRITTEN_BY_OTHERS) and name != "tests/test_prose.py"
    }


@pytest.mark.parametrize("pattern", BANNED)
def test_text_has_no_banned_phrase(texts: dict[str, str], pattern: str) -> None:
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for name, text in texts.items()
        for match in re.finditer(pattern, text)
    ]
    assert not found, f"write {BANNED[pattern]} instead:\n" + "\n".join(found)


def test_patterns_match_text_in_lower_case() -> None:
    assert not [pattern for pattern in BANNED if re.search(r"(?<!\\)[A-Z]", pattern)]
