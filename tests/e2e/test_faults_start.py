"""A model that cannot be loaded: one clear message, reported to RunPod, no second try."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.support.deployment import deploy, make_environ
from tests.e2e.support.own_code import build_own_code_model
from tests.e2e.support.tiny_model import build_tiny_model
from tests.e2e.support.tiny_weights import write_weights
from tests.fakes.hub import Hub, repository_of
from worker.engine.startup_timing import DOWNLOAD
from worker.errors import ExitCode
from worker_tools.dev import LocalDeployment
from worker_tools.dev.deployment import WorkerExitError

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="session")]

REPO = "Test/Tiny-Llama"

HEAD_BYTES = 100_001
"""Of each weight file vLLM first reads so much, for what is in it."""

KEPT_BYTES = 10 * 1024 * 1024
"""The hub's library writes pieces of this size; of a piece that broke off it keeps nothing."""


async def test_damaged_weights_end_the_worker_with_the_remedy(
    tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "damaged"
    shutil.copytree(tiny_model, model)
    # What a download leaves that broke off: a head that promises more than there is.
    tensor = {"dtype": "BF16", "shape": [384, 128], "data_offsets": [0, 384 * 128 * 2]}
    head = json.dumps({"lm_head.weight": tensor}).encode()
    (model / "model.safetensors").write_bytes(
        len(head).to_bytes(8, "little") + head + b"broken off"
    )
    await expect_failure(
        {**make_environ(model), "LOAD_FORMAT": "auto"},
        "A weight file is damaged: delete it from the cache",
    )


async def test_own_code_of_a_model_is_not_run_and_the_switch_is_named(tmp_path: Path) -> None:
    model, mark = build_own_code_model(tmp_path)
    await expect_failure(
        make_environ(model),
        "The model contains custom code: set TRUST_REMOTE_CODE=true",
    )
    assert not mark.exists()


async def test_download_that_breaks_goes_on_where_it_broke(tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "tiny", changes={"intermediate_size": 20_000})
    write_weights(model)
    shard = "model-00002-of-00002.safetensors"
    size, broken_at = (model / shard).stat().st_size, int(2.5 * KEPT_BYTES)
    assert size > broken_at
    output: list[str] = []
    with Hub({REPO: repository_of(model)}, broken={shard: broken_at}) as hub:
        environ = make_environ(model, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "home"))
        environ |= {"MODEL_NAME": REPO, "LOAD_FORMAT": "auto", "HF_HUB_OFFLINE": "0"}
        async with deploy(environ, output):
            assert hub.broken == {}
            assert hub.sent[shard] == size + HEAD_BYTES + broken_at % KEPT_BYTES
    report = next(line for line in output if "start: " in line)
    assert DOWNLOAD in json.loads(report.partition("start: ")[2])["vllm_phases"]


async def expect_failure(environ: dict[str, str], message: str) -> None:
    """Start a worker; see it end with this message, and RunPod get the same."""
    output: list[str] = []
    async with LocalDeployment(
        environ=environ, on_output=lambda _worker, line: output.append(line)
    ) as deployment:
        with pytest.raises(WorkerExitError) as caught:
            await deployment.wait_ready()
        unhealthy = deployment.endpoint.store.workers.get("worker-1").unhealthy
    assert caught.value.status == ExitCode.ENGINE_START
    [error] = [line for line in output if line.startswith("error: ")]
    assert error.startswith(f"error: {message}")
    assert unhealthy is not None
    assert unhealthy.startswith(f"engine_start: {message}")
