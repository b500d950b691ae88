"""`worker check --engine` with real vLLM: its configuration, built without loading a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.errors import ExitCode

ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
RIGHT: dict[str, str] = {}


def check(model: Path, **variables: str) -> tuple[int, dict[str, Any]]:
    """Return exit status and data of `worker check --engine --json` for a model."""
    done = subprocess.run(
        [sys.executable, "-m", "worker", "check", "--engine", "--json"],
        env={**ENVIRON, "MODEL_NAME": str(model), "LOAD_FORMAT": "dummy", **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("variables", "status", "fragment"),
    [
        pytest.param(RIGHT, ExitCode.OK, None, id="right"),
        pytest.param(
            {"MAX_MODEL_LEN": "99999"},
            ExitCode.ENGINE_START,
            "does not support a context of this length",
            id="too-long-for-the-model",
        ),
        pytest.param(
            {"QUANTIZATION": "awq"},
            ExitCode.ENGINE_START,
            "was not quantized that way",
            id="not-quantized",
        ),
    ],
)
def test_check_engine_builds_the_configuration_of_the_real_model(
    tiny_model: Path, variables: dict[str, str], status: int, fragment: str | None
) -> None:
    ended, data = check(tiny_model, **variables)
    assert ended == status
    assert data["ok"] is data["engine"]["ok"] is (status == ExitCode.OK)
    assert fragment is None or fragment in data["engine"]["error"]


def test_check_engine_does_not_ask_vllm_where_the_settings_are_wrong(tiny_model: Path) -> None:
    ended, data = check(tiny_model, MAX_NUM_SEQS="many")
    assert ended == ExitCode.CONFIGURATION
    assert "engine" not in data
    assert [problem["where"] for problem in data["problems"]] == ["MAX_NUM_SEQS"]
