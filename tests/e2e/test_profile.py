"""Profiles with a real vLLM: its own figures against ours, and a start with PROFILE alone."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from served import connect, deploy
from tiny_model import MAX_MODEL_LEN

from worker.dev import LocalDeployment
from worker.profile.attention import Full
from worker.profile.memory import Layout, request_bytes
from worker.settings import load_settings

pytestmark = pytest.mark.asyncio(loop_scope="session")

TINY = (Full(layers=2, kv_heads=1, head_size=64),)
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


async def test_profile_alone_serves_a_cached_model_under_its_id(
    tiny_model: Path, tmp_path: Path
) -> None:
    commit = "c" * 40
    # In lower case, as RunPod writes it; without a hub that could answer.
    folder = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(tiny_model, folder / "snapshots" / commit)
    (folder / "snapshots" / commit / "model.safetensors").touch()
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    profile = tmp_path / "tiny.yaml"
    profile.write_text(PROFILE.format(context=MAX_MODEL_LEN))
    output: list[str] = []

    environ = {**os.environ, "HF_HOME": str(tmp_path), "PROFILE": str(profile)}
    async with deploy(environ, output) as deployment, connect(deployment) as api:
        answer = await api.runsync(
            {"openai_route": "/v1/chat/completions", "openai_input": QUESTION}
        )

    assert answer["output"][0]["model"] == "Org/Tiny"
    _tokens, context, requests = cache_of(output)
    assert context == MAX_MODEL_LEN
    expected = 64 * 1024**2 / request_bytes(TINY, context, Layout())
    assert requests == pytest.approx(expected, rel=0.02)
    assert any("profile tiny" in line for line in output)


QUESTION = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
