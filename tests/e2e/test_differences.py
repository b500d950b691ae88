"""`worker check` accepts what vLLM accepts: thousands of values go through both, in one process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.contract

HERE = Path(__file__).parent
LISTED = yaml.safe_load((HERE / "differences.yaml").read_text(encoding="utf-8"))
LEAST_VALUES = 5_000


@pytest.fixture(scope="module")
def compared(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return how many values were tried, and the differences."""
    results = tmp_path_factory.mktemp("differences") / "results.json"
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run(
        [sys.executable, str(HERE / "support/compare_options.py"), str(results), str(tiny_model)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(results.read_text(encoding="utf-8")))


def explains(entry: dict[str, str], difference: dict[str, Any]) -> bool:
    """Whether a listed entry is about a difference."""
    reason = difference[entry["refused_by"]]
    return (
        reason is not None
        and re.fullmatch(entry.get("options", ".*"), difference["option"]) is not None
        and re.search(entry["message"], reason) is not None
    )


@pytest.mark.timeout(1500)
def test_check_and_vllm_differ_only_where_listed(
    compared: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    explained = Counter(
        next((n for n, entry in enumerate(LISTED) if explains(entry, difference)), None)
        for difference in compared["differences"]
    )
    with capsys.disabled():
        options, tried = compared["options"], compared["tried"]
        print(f"\n{tried} values of {options} options tried, {len(compared['differences'])} differ")
    unlisted = [
        difference
        for difference in compared["differences"]
        if not any(explains(entry, difference) for entry in LISTED)
    ]
    assert unlisted == []
    assert [LISTED[n]["reason"] for n in range(len(LISTED)) if not explained[n]] == [], "stale"
    assert compared["tried"] >= LEAST_VALUES


@pytest.mark.timeout(1500)
def test_check_ends_in_no_exception(compared: dict[str, Any]) -> None:
    assert [d for d in compared["differences"] if "TRACEBACK" in (d["worker"] or "")] == []
