from __future__ import annotations

import json

import pytest

from benchmarks.environment import LOAD, make_environ
from benchmarks.model import GPU_SHAPE, build_model


@pytest.mark.parametrize(("gpu", "layers"), [(False, 2), (True, GPU_SHAPE["num_hidden_layers"])])
def test_build_model_is_larger_on_a_gpu(tmp_path, gpu, layers):
    model = build_model(tmp_path / "model", gpu=gpu, max_model_len=9000)

    config = json.loads((model / "config.json").read_text())
    assert config["num_hidden_layers"] == layers
    assert config["max_position_embeddings"] == 9000
    assert (model / "tokenizer.json").exists()


def test_make_environ_shares_a_gpu_between_three_engines(tmp_path):
    gpu = make_environ({"PATH": "/bin"}, tmp_path, LOAD, gpu=True)
    cpu = make_environ({"PATH": "/bin"}, tmp_path, LOAD, gpu=False)

    assert float(gpu["GPU_MEMORY_UTILIZATION"]) * 3 < 1
    assert "ENFORCE_EAGER" not in gpu
    assert cpu["ENFORCE_EAGER"] == "true"
    assert cpu["CUDA_VISIBLE_DEVICES"] == ""
    assert cpu["PATH"] == "/bin"
