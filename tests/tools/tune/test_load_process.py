"""The load process, in this process, with the fake of vLLM's client."""

from __future__ import annotations

import json
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from tests.tools.tune.conftest import CLIENT
from worker_tools.tune import load_process

LOAD = {
    "route": "/v1/completions",
    "base_url": "http://127.0.0.1:1",
    "model": "tiny",
    "tokenizer": "/models/tiny",
    "requests": 4,
    "rate": None,
    "concurrency": 2,
    "prompt_tokens": 16,
    "answer_tokens": 8,
    "seed": 0,
    "first": 0,
    "requests_file": None,
    "timeout_s": 5,
}


def forget_vllm() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    kept = {name: found for name, found in sys.modules.items() if name.partition(".")[0] == "vllm"}
    forget_vllm()
    monkeypatch.syspath_prepend(CLIENT)
    yield
    forget_vllm()
    sys.modules.update(kept)


async def run(**changes: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    reports: list[dict[str, Any]] = []
    found = await load_process.run({**LOAD, **changes}, lambda **message: reports.append(message))
    return found, reports


async def test_result_and_progress():
    found, reports = await run()
    assert (found["completed"], found["failed"]) == (4, 0)
    assert found["p95_tpot_ms"] == pytest.approx(5.2 * 1.1)
    assert len(found["start_times"]) == 4
    assert [report["done"] for report in reports] == [1, 2, 3, 4]
    assert found["errors"] == {}


async def test_vllm_is_left_as_it_was(tmp_path):
    from vllm.benchmarks import serve

    before = (serve.get_samples, serve.get_tokenizer, dict(serve.ASYNC_REQUEST_FUNCS))
    (tmp_path / "own.jsonl").write_text('{"body": {"prompt": "x"}}\n')
    await run(requests_file=str(tmp_path / "own.jsonl"), tokenizer=None)
    assert (serve.get_samples, serve.get_tokenizer, dict(serve.ASYNC_REQUEST_FUNCS)) == before


async def test_own_requests_start_where_the_last_load_ended(tmp_path, monkeypatch):
    sent = []

    def note(body: dict[str, Any]) -> Any:
        sent.append(body["prompt"])
        return types.SimpleNamespace()

    monkeypatch.setattr(load_process, "make_sample", note)
    (tmp_path / "own.jsonl").write_text(
        "".join(f'{{"body": {{"prompt": "{name}"}}}}\n\n' for name in "abc")
    )
    await run(requests_file=str(tmp_path / "own.jsonl"), tokenizer=None, first=2)
    assert sent == ["c", "a", "b", "c"]


@pytest.mark.parametrize(
    ("body", "overrides"),
    [
        (
            {"messages": [], "model": "x", "stream": True},
            {"max_completion_tokens": None},
        ),
        (
            {"messages": [], "max_tokens": 8, "temperature": 0},
            {"max_completion_tokens": None, "max_tokens": 8, "temperature": 0},
        ),
        ({"messages": [], "max_completion_tokens": 8}, {"max_completion_tokens": 8}),
        ({"prompt": "x"}, {"max_tokens": None}),
        ({"prompt": "x", "max_tokens": 8, "stop": ["."]}, {"max_tokens": 8, "stop": ["."]}),
    ],
)
def test_own_request_keeps_its_members(body, overrides):
    sample = load_process.make_sample(body)
    assert sample.request_overrides == overrides
    assert sample.chat_messages == body.get("messages")


def test_answer_without_usage_needs_a_tokenizer():
    assert load_process.count_nothing("").input_ids == []
    with pytest.raises(ValueError, match="have no usage; name --tokenizer"):
        load_process.count_nothing("text", add_special_tokens=False)


@pytest.mark.parametrize(
    ("text", "last"),
    [("Unauthorized", "Unauthorized"), ("a\n  b\nE: why\n", "E: why"), ("", "no reason given")],
)
def test_reason_is_the_last_line(text, last):
    assert load_process.last_line(text) == last


def test_each_line_of_stdin_is_a_load(monkeypatch):
    read_end, write_end = os.pipe()
    lines = [json.dumps(LOAD), json.dumps({**LOAD, "tokenizer": "missing"})]
    monkeypatch.setattr(sys, "stdin", lines)
    load_process.main(write_end)
    os.close(write_end)
    with open(read_end) as reports:
        found = [json.loads(line) for line in reports]
    assert found[4]["result"]["completed"] == 4
    assert found[-1] == {"error": "OSError: missing has no tokenizer"}
