"""What the patches for adapters decide, without vLLM."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy
import pytest

from worker.engine.adapter_patches import (
    FOREIGN_LAYERS,
    NO_LAYER,
    LoadedAdapters,
    changes_nothing,
    explain,
    find_shape_fault,
)
from worker.engine.adapters import CONFIG, FIRST_ID, WEIGHTS


def weights(inputs: int, outputs: int, rank: int = 8, rank_b: int | None = None) -> Any:
    return types.SimpleNamespace(
        lora_a=numpy.zeros((rank, inputs)), lora_b=numpy.zeros((outputs, rank_b or rank))
    )


def find(name: str, found: Any, tp_size: int = 1) -> str | None:
    """Return what is wrong with the weights of one layer of a model with two."""
    single = types.SimpleNamespace(input_size=128, output_size=64, tp_size=tp_size)
    packed = types.SimpleNamespace(
        input_size=64, output_size=48, output_sizes=[32, 16], tp_size=tp_size
    )
    manager = types.SimpleNamespace(
        lora_config=types.SimpleNamespace(max_lora_rank=16),
        modules={
            "o": types.SimpleNamespace(base_layer=single),
            "qkv": types.SimpleNamespace(base_layer=packed),
            "embedding": types.SimpleNamespace(base_layer=types.SimpleNamespace()),
        },
        packed_modules={"qkv": ["q", "k"]},
    )
    return find_shape_fault(types.SimpleNamespace(get_lora={name: found}.get), manager)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("o", weights(128, 64)),
        ("o", weights(128, 64, rank=16)),
        ("q", weights(64, 32)),
        ("k", weights(64, 16)),
        ("elsewhere", weights(1, 1)),
    ],
)
def test_find_shape_fault_accepts_what_fits(name: str, found: Any) -> None:
    assert find(name, found) is None


@pytest.mark.parametrize(
    ("name", "found", "fault"),
    [
        ("o", weights(64, 64), "its layer o has 64 inputs, the model's 128"),
        ("o", weights(128, 32), "its layer o has 32 outputs, the model's 64"),
        ("q", weights(32, 32), "its layer q has 32 inputs, the model's 64"),
        ("k", weights(64, 32), "its layer k has 32 outputs, the model's 16"),
        ("o", weights(128, 64, rank=17), "its layer o has ranks 17 and 17, the model's 16"),
        ("o", weights(128, 64, 8, 4), "its layer o has ranks 8 and 4, the model's 16"),
        (
            "o",
            types.SimpleNamespace(lora_a=numpy.zeros((8, 128)), lora_b=None),
            "its layer o has one of its matrices, the model's 2",
        ),
    ],
)
def test_find_shape_fault_names_the_layer_and_reaches_the_client(
    name: str, found: Any, fault: str
) -> None:
    assert find(name, found) == fault
    raised = f"Call to add_lora method failed: Worker failed with error '{fault}', please check …"
    assert explain(raised) == fault


def test_heads_that_are_copied_to_several_gpus_are_not_counted() -> None:
    assert find("k", weights(64, 8), tp_size=4) is None


@pytest.mark.parametrize(
    ("names", "pooling", "expected"),
    [
        (["o"], False, False),
        (["other", "q"], False, False),
        (["other"], False, True),
        (["x.experts.0.w1"], False, False),
        (["lm_head"], False, False),
        (["other"], True, False),
        ([], False, True),
    ],
)
def test_changes_nothing_knows_the_layers_of_the_model(
    names: list[str], pooling: bool, expected: bool
) -> None:
    manager = types.SimpleNamespace(
        is_pooling_model=pooling, modules={"o": 0, "qkv": 0}, packed_modules={"qkv": ["q", "k"]}
    )
    loaded = types.SimpleNamespace(loras=dict.fromkeys(names))
    assert changes_nothing(loaded, manager) is expected


def test_explain_hides_paths_and_code() -> None:
    foreign = f"While loading /cache/x, expected {{'a'}} but received ['b']. {FOREIGN_LAYERS}"
    assert explain(foreign) == "it changes layers that the model does not have"
    assert explain(f"Worker failed with error '{NO_LAYER}', please") == NO_LAYER
    assert "header" not in explain("Error while deserializing header: /cache/x")


def test_loaded_adapters_forget_one_whose_files_have_gone(tmp_path: Path) -> None:
    for name in (CONFIG, WEIGHTS):
        (tmp_path / name).touch()
    here = types.SimpleNamespace(lora_int_id=FIRST_ID, lora_path=str(tmp_path))
    static = types.SimpleNamespace(lora_int_id=1, lora_path="org/repository")
    loaded = LoadedAdapters({"here": here, "static": static})
    assert [name in loaded for name in ("here", "static", "other")] == [True, True, False]
    (tmp_path / WEIGHTS).unlink()
    assert [name in loaded for name in ("here", "static", "other")] == [False, True, False]
