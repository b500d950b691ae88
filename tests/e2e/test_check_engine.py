"""`worker check --engine` with real vLLM: its configuration, built without loading a model."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.errors import ExitCode

ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


async def check(model: Path, **variables: str) -> tuple[int, dict[str, Any]]:
    """Return exit status and data of `worker check --engine --json` for a model."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "check", "--engine", "--json"),
        env={**ENVIRON, "MODEL_NAME": str(model), "LOAD_FORMAT": "dummy", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert b"Traceback" not in errors
    return process.returncode, json.loads(output)


CASES: dict[str, tuple[dict[str, str], int, str]] = {
    "right": ({}, ExitCode.OK, ""),
    "too-long-for-the-model": (
        {"MAX_MODEL_LEN": "99999"},
        ExitCode.ENGINE_START,
        "does not support a context of this length",
    ),
    "not-quantized": (
        {"QUANTIZATION": "awq"},
        ExitCode.ENGINE_START,
        "was not quantized that way",
    ),
}


@pytest.fixture(scope="module")
def checked(tiny_model: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """Status and data of each case. They run side by side: each imports vLLM for seconds."""

    async def check_all() -> list[tuple[int, dict[str, Any]]]:
        runs = (check(tiny_model, **variables) for variables, _, _ in CASES.values())
        return await asyncio.gather(*runs)

    return dict(zip(CASES, asyncio.run(check_all()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_check_engine_builds_the_configuration_of_the_real_model(
    checked: dict[str, tuple[int, dict[str, Any]]], case: str
) -> None:
    _, status, fragment = CASES[case]
    ended, data = checked[case]
    assert ended == status
    assert data["ok"] is data["engine"]["ok"] is (status == ExitCode.OK)
    assert fragment in data["engine"].get("error", "")


async def test_check_engine_does_not_ask_vllm_where_the_settings_are_wrong(
    tiny_model: Path,
) -> None:
    ended, data = await check(tiny_model, MAX_NUM_SEQS="many")
    assert ended == ExitCode.CONFIGURATION
    assert "engine" not in data
    assert [problem["where"] for problem in data["problems"]] == ["MAX_NUM_SEQS"]
