"""`worker bench` and `worker tune` with vLLM's own client against the real engine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.support.deployment import MODEL, make_environ
from tests.support.browser import find_barriers, launch_browser
from tests.support.markdown import read_blocks

pytestmark = pytest.mark.asyncio(loop_scope="session")

DOCS = Path(__file__).parents[2] / "docs" / "tune.md"
SHORT = "--prompt-tokens 32 --answer-tokens 8"


async def run(folder: Path, command: str, environ: dict[str, str] | None = None) -> str:
    """Run a command in a shell; return what it prints to stdout."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euc", command),
        cwd=folder,
        env={**(environ or os.environ), "PATH": path},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, notes = await process.communicate()
    assert process.returncode == 0, out.decode() + notes.decode()
    return out.decode()


@pytest.mark.browser
async def test_tune_and_its_page(deployment, tmp_path):
    url = deployment.endpoint.url
    printed = await run(
        tmp_path, f"worker tune {url} {SHORT} --concurrency 1,4 --seconds 0.5 --gpu H100"
    )
    data = json.loads((tmp_path / "tune.json").read_text())
    assert [point["load"]["concurrency"] for point in data["points"]] == [1, 4]
    for point in data["points"]:
        requests = point["load"]["requests"]
        assert (point["completed"], point["failed"]) == (requests, 0)
        assert point["output_tokens"] == requests * 8
        assert requests * 32 <= point["input_tokens"] <= requests * 36
        assert 0 < point["first_token_ms"]["p50"] <= point["total_ms"]["p50"]
        assert point["token_ms"]["p95"] > 0
    assert re.search(r"MAX_NUM_SEQS=[14]\n", printed)
    async with launch_browser() as browser:
        page = await browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        await page.goto((tmp_path / "tune.html").as_uri())
        await expect(page.locator("h1")).to_have_text(MODEL)
        await expect(page.locator("#plots canvas")).to_have_count(5)
        assert await find_barriers(page) == []
        assert problems == []


async def test_bench_with_own_requests_sends_them_as_they_are(deployment, tmp_path):
    messages = [{"role": "user", "content": "Name a colour."}]
    with (tmp_path / "own.jsonl").open("w") as file:
        for number in range(8):
            body = {"messages": messages, "max_tokens": 4 + number, "ignore_eos": True}
            line = {
                "custom_id": str(number),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": body,
            }
            file.write(json.dumps(line) + "\n")
    url = f"{deployment.endpoint.openai_url}"
    command = f"worker bench {url} --requests-file own.jsonl --requests 16 --json"
    found = json.loads(await run(tmp_path, command))
    assert (found["completed"], found["failed"]) == (16, 0)
    assert found["output_tokens"] == 2 * sum(range(4, 12))
    assert found["cold_starts"] == {"cold": 0, "requests": 17, "share": 0.0}
    assert found["token_ms"]["p50"] > 0


async def test_tune_starts_a_worker(tiny_model, tmp_path):
    [command] = [
        block.text.strip()
        for block in read_blocks(DOCS)
        if block.language == "sh" and block.text.startswith("MODEL_NAME=")
    ]
    command = command.replace("Qwen/Qwen3-8B", str(tiny_model))
    command += f" {SHORT} --concurrency 2 --seconds 0.5 --json"
    found = json.loads(await run(tmp_path, command, make_environ(tiny_model)))
    assert found["endpoint"] == "a worker on this machine"
    assert found["model"] == MODEL
    [point] = found["measurements"]
    assert point["completed"] == point["load"]["requests"]
    assert found["choices"][0]["settings"] == {"MAX_NUM_SEQS": 2, "MAX_CONCURRENCY": 2}
