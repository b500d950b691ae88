"""Profiles with a real vLLM: its own figures against ours, and a start with PROFILE alone."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.support.deployment import Api, connect, connect_engine, deploy, read_metric
from tests.e2e.support.tiny_model import MAX_MODEL_LEN
from worker.profile.attention import FullAttention
from worker.profile.memory import Layout, request_bytes
from worker.settings import load_settings
from worker_tools.dev import LocalDeployment

pytestmark = pytest.mark.asyncio(loop_scope="session")

TINY = (FullAttention(layers=2, kv_heads=1, head_size=64),)
"""The layers of the tiny model, as its configuration says."""

CACHE_SIZE = re.compile(r"KV cache size: ([\d,]+) tokens.* for ([\d,]+) tokens.*: ([\d.]+)x")

PROFILE = """
about:
  title: Tiny
  facts:
    - source: its configuration
      context: {context}
      weight_bytes: 1000000
      attention: [{{layers: 2, kv_heads: 1, head_size: 64}}]
  speculation:
    config: {{method: ngram, num_speculative_tokens: 5, prompt_lookup_max: 4}}
    source: this test
model_name: Org/Tiny
load_format: dummy
max_model_len: auto
kv_cache_memory_bytes: 64M
"""


def cache_of(output: list[str]) -> tuple[int, int, float]:
    """Return tokens, context and requests of full context, as vLLM logged them."""
    found = [match for line in output if (match := CACHE_SIZE.search(line))]
    tokens, context, requests = found[-1].groups()
    return int(tokens.replace(",", "")), int(context.replace(",", "")), float(requests)


async def test_cache_of_the_tiny_model_is_what_vllm_says(
    deployment: LocalDeployment, worker_output: list[str], tiny_model: Path
) -> None:
    settings = load_settings({**os.environ, "MODEL_NAME": str(tiny_model)})
    values = {item.option.name: item.value for item in settings.values}
    cache = values["KV_CACHE_MEMORY_BYTES"]

    tokens, context, requests = cache_of(worker_output)

    assert context == MAX_MODEL_LEN
    expected = cache / request_bytes(TINY, context, Layout())
    assert requests == pytest.approx(expected, rel=0.01)
    assert tokens == pytest.approx(expected * context, rel=0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_output() -> list[str]:
    """Every line that the worker with a profile of its own has printed."""
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def own_deployment(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, own_output: list[str]
) -> AsyncIterator[LocalDeployment]:
    """A worker with PROFILE and SPECULATION alone, for a model in the hub's cache."""
    commit, cache = "c" * 40, tmp_path_factory.mktemp("profile")
    # In lower case, as RunPod writes it; without a hub that could answer.
    folder = cache / "hub" / "models--org--tiny"
    shutil.copytree(tiny_model, folder / "snapshots" / commit)
    (folder / "snapshots" / commit / "model.safetensors").touch()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    profile = cache / "tiny.yaml"
    profile.write_text(PROFILE.format(context=MAX_MODEL_LEN))
    environ = {**os.environ, "HF_HOME": str(cache), "PROFILE": str(profile), "SPECULATION": "on"}
    async with deploy(environ, own_output) as deployment:
        yield deployment


async def test_profile_alone_serves_a_cached_model_under_its_id(
    own_deployment: LocalDeployment, own_output: list[str]
) -> None:
    async with connect(own_deployment) as api:
        answer = await api.runsync(
            {"openai_route": "/v1/chat/completions", "openai_input": QUESTION}
        )

    assert answer["output"][0]["model"] == "Org/Tiny"
    _tokens, context, requests = cache_of(own_output)
    assert context == MAX_MODEL_LEN
    expected = 64 * 1024**2 / request_bytes(TINY, context, Layout())
    assert requests == pytest.approx(expected, rel=0.02)
    assert any("profile tiny" in line for line in own_output)


async def test_speculation_with_ngrams_drafts_and_changes_no_answer(
    own_deployment: LocalDeployment, api: Api
) -> None:
    engine = connect_engine(own_deployment.processes[0].pid)
    job = {
        "prompt": "one two three four one two three four one two three",
        "sampling_params": {"max_tokens": 200, "temperature": 0, "ignore_eos": True},
    }

    plain = await api.runsync(job)
    async with connect(own_deployment) as own_api:
        drafted = await own_api.runsync(job)
    accepted = await read_metric(engine, "vllm:spec_decode_num_accepted_tokens_total")
    await engine.close()

    assert drafted["output"][0]["choices"] == plain["output"][0]["choices"]
    assert accepted > 0


QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
