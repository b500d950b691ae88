from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tokenizers import Tokenizer

from benchmarks import realistic
from benchmarks.client import FIGURES, Load, LoadError, ask
from benchmarks.environment import MODEL
from benchmarks.model import VOCABULARY
from benchmarks.realistic import Comparison, Timing, Turns
from benchmarks.realistic_report import check_comparison, describe_comparison
from benchmarks.served import CONTROL, HTTP, QUEUE, SERVE, Server, Service

LOAD = Load("completion", 300, 20, 512, 101)
SAME = dict.fromkeys(FIGURES, 100.0)


def compare(pair: str, rtt_ms: float = 20, **ours: float) -> Comparison:
    timings = [Timing(SERVE, pair, LOAD, SAME), Timing(pair, pair, LOAD, SAME | ours)]
    return Comparison({"date": "2026-11-26"}, "8b", rtt_ms, timings)


def test_build_sized_model_writes_the_size_and_a_tokenizer_that_keeps_random_prompts(model):
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    config = json.loads((model / "config.json").read_text())
    words = list(range(1000, VOCABULARY, 250))

    assert (config["hidden_size"], config["vocab_size"]) == (768, VOCABULARY)
    assert tokenizer.get_vocab_size() == VOCABULARY
    assert tokenizer.encode(tokenizer.decode(words), add_special_tokens=False).ids == words
    assert tokenizer.encode("<|im_end|>", add_special_tokens=False).ids == [config["eos_token_id"]]


@pytest.mark.parametrize(
    ("pair", "figures", "missed"),
    [
        pytest.param(HTTP, {}, [], id="same"),
        pytest.param(HTTP, {"itl_p50_ms": 104.9, "itl_p99_ms": 104.9}, [], id="http-itl-met"),
        pytest.param(HTTP, {"itl_p50_ms": 105.1}, ["ITL p50"], id="http-itl-p50"),
        pytest.param(HTTP, {"itl_p99_ms": 105.1}, ["ITL p99"], id="http-itl-p99"),
        pytest.param(HTTP, {"tpot_p50_ms": 101.1}, ["TPOT p50"], id="http-tpot"),
        pytest.param(HTTP, {"ttft_p50_ms": 103.1}, ["TTFT p50"], id="http-ttft"),
        pytest.param(QUEUE, {"tpot_p50_ms": 101.1}, [], id="queue-round-trip-over-all-tokens"),
        pytest.param(QUEUE, {"tpot_p50_ms": 101.3}, ["TPOT p50"], id="queue-tpot"),
        pytest.param(QUEUE, {"itl_p99_ms": 100.1}, ["ITL p99"], id="queue-itl"),
    ],
)
def test_check_comparison_finds_the_targets_that_are_missed(pair, figures, missed):
    found = [f.target for f in check_comparison(compare(pair, **figures), [LOAD]) if not f.met]

    assert [target.split(": ")[1].split(",")[0] for target in found] == missed


def test_describe_comparison_is_the_same_from_a_file_and_has_rounds_and_failures(tmp_path):
    comparison = compare(HTTP, tokens_per_s=2417.4, ttft_p50_ms=45.0)
    comparison.timings.append(Timing(SERVE, HTTP, LOAD, SAME | {"ttft_p50_ms": 110.0}))
    comparison.failures.append("worker, queue, 8 chats at once: 7 of 8 requests answered")
    comparison.save(tmp_path / "found.json")

    text = describe_comparison(realistic.load_comparison(tmp_path / "found.json"))

    assert text == describe_comparison(comparison)
    assert "| 300 completions at 20 per s | `vllm serve` | 2 | 100 | 105 / 100 |" in text
    assert "| 300 completions at 20 per s | worker, HTTP | 1 | 2,417 | 45 / 100 |" in text
    assert "TTFT p50 10%" in text
    assert "- not measured: worker, queue, 8 chats at once: 7 of 8 requests answered" in text


def test_describe_comparison_explains_the_control_where_there_is_one():
    text = describe_comparison(compare(CONTROL))

    assert "| 300 completions at 20 per s | vllm serve, control | 1 | 100 |" in text
    assert "a second `vllm serve`" in text
    assert "a second `vllm serve`" not in describe_comparison(compare(HTTP))


async def test_turns_give_both_systems_the_same_prompts_and_none_twice(tmp_path, monkeypatch):
    asked: list[tuple[str, int]] = []

    async def record(server: Server, _model: Path, _load: Load, seed: int) -> dict[str, float]:
        asked.append((server.url, seed))
        return SAME

    quiet: list[str] = []

    async def note(others: list[Server]) -> None:
        quiet.extend(other.name for other in others)

    monkeypatch.setattr(Server, "ask", record)
    monkeypatch.setattr(realistic, "wait_quiet", note)
    services = [Service(name, (), {}) for name in (HTTP, SERVE, QUEUE)]
    http, serve, queue = (Server(service, tmp_path / "log") for service in services)
    comparison = Comparison({}, "cpu", 20)
    turns = Turns(comparison, [LOAD], 2, tmp_path, lambda: None, lambda _: None)

    await turns.take(http, serve, time.monotonic() + 1000)
    await turns.take(queue, serve, time.monotonic() + 1000)
    await turns.take(queue, serve, time.monotonic())  # No time: only the warm-up.

    assert len(comparison.timings) == 8
    assert comparison.failures == [f"{QUEUE}, {LOAD}: no time was left"] * 2
    assert len(set(asked)) == len(asked)
    seeds = [[seed for url, seed in asked if url == server.url] for server in (http, queue, serve)]
    assert seeds[0] + seeds[1] == seeds[2]
    assert [t.system for t in comparison.timings[:4]] == [HTTP, SERVE, SERVE, HTTP]
    assert quiet[:4] == [SERVE, HTTP, HTTP, SERVE]


@pytest.mark.contract  # With the client of vLLM's own benchmark.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("answered", [2, 1])
async def test_ask_checks_that_every_token_arrived(model, answered):
    load = Load("completion", 2, None, 16, 3)
    bodies: list[dict[str, object]] = []

    async def complete(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        if len(bodies) > answered:
            return web.json_response({}, status=500)
        response = web.StreamResponse()
        await response.prepare(request)
        for text in ("a", "b", "c"):
            await response.write(b'data: {"choices": [{"text": "%s"}]}\n\n' % text.encode())
            await asyncio.sleep(0.02)
        await response.write(b'data: {"choices": [], "usage": {"completion_tokens": 3}}\n\n')
        await response.write(b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/base/v1/completions", complete)
    async with TestServer(app) as server:
        asking = ask(f"http://127.0.0.1:{server.port}/base", model, load, seed=1)
        if answered < load.requests:
            with pytest.raises(LoadError, match="1 of 2 requests answered, 3 of 6 tokens"):
                await asking
            return
        figures = await asking

    assert {body["model"] for body in bodies} == {MODEL}
    assert set(figures) == set(FIGURES)
    assert 15 < figures["itl_p50_ms"] < 1000
    assert figures["end_p99_ms"] > figures["ttft_p50_ms"]
