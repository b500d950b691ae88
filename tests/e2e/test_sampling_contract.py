"""What the early compilation of vLLM's sampling kernel relies on, in the installed vLLM."""

from __future__ import annotations

import pytest

from tests.e2e.support.probe import run_probe
from worker.engine.sampling_kernels import SMALL_BATCH

PROBE = """
import dataclasses, inspect, json
from pathlib import Path
from vllm.model_executor.warmup import jit_warmup_triton_helper as helper
from vllm.sampling_params import SamplingParams
from vllm.v1.sample.ops import topk_topp_triton as kernels
from worker.engine import sampling_kernels

inputs = next(sampling_kernels.list_inputs(32_000, 256))
arguments = inspect.signature(kernels._topk_topp._dispatch_fn).parameters
warmup = SamplingParams.for_sampler_warmup()
folder = Path(inspect.getfile(kernels)).parents[2] / "worker/gpu"
runner = (folder / "model_runner.py").read_text()

print(json.dumps({
    "arguments": list(arguments) == list(inputs),
    "key": [each.name for each in dataclasses.fields(helper.TritonCompileKey)],
    "small_batch": kernels._SPLIT_MAX_BATCH,
    "warm_up": [warmup.top_k > 0, warmup.top_p < 1],
    "asynchronous": "triton, \\"AsyncCompileMode\\"" in inspect.getsource(helper),
    "runner": [text for text in ("def load_model(", "self.vocab_size =", "self.max_num_reqs =",
        "self.is_last_pp_rank =", "self.is_pooling_model =", "self.vllm_config =")
        if text not in runner],
}))
"""


@pytest.fixture(scope="module")
def contract() -> dict[str, object]:
    return run_probe(PROBE, "vLLM samples in another way")


@pytest.mark.parametrize(
    ("name", "expected", "reason"),
    [
        ("arguments", True, "sampling_kernels calls the function with these"),
        ("key", ["jit_keys", "inputs"], "sampling_kernels makes this key for each variant"),
        ("small_batch", SMALL_BATCH, "the variants differ by this size"),
        ("warm_up", [True, True], "vLLM's warm-up uses the variants that have both"),
        ("asynchronous", True, "vLLM itself compiles in Triton's threads"),
        ("runner", [], "sampling_kernels wraps its method and reads the others"),
    ],
)
def test_contract(contract: dict[str, object], name: str, expected: object, reason: str) -> None:
    assert contract[name] == expected, reason
