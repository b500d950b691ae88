"""GPU memory for LoRA adapters, against what vLLM allocates."""

import pytest

from worker.profile import builtin_folder, load_all
from worker.profile.lora import AdapterSlots, AdapterWidths, estimate_widths

WIDTHS = AdapterWidths(copied=917_504, divided=1_703_936)
"""The linear layers of Llama 3.1 8B: 32 blocks of 4096, 14336 between, and 1024 for keys."""


def width_of_block(hidden, between, keys):
    """Inputs and outputs of the seven layers of a block, as vLLM allocates them."""
    copied = 5 * hidden + 2 * hidden
    return copied, (hidden + 2 * keys + 2 * between) + (hidden + between)


def test_widths_of_a_llama_are_those_of_its_layers():
    copied, divided = width_of_block(4096, 14336, 1024)

    assert (32 * copied, 32 * divided) == (WIDTHS.copied, WIDTHS.divided)


@pytest.mark.parametrize(
    ("tensor_parallel", "pipeline_parallel", "sharded", "elements"),
    [
        (1, 1, False, 917_504 + 1_703_936),
        (4, 1, False, 917_504 + 1_703_936 / 4),
        (4, 1, True, (917_504 + 1_703_936) / 4),
        (1, 2, False, (917_504 + 1_703_936) / 2),
    ],
    ids=["one-gpu", "tensor-parallel", "fully-sharded", "pipeline"],
)
def test_memory_of_one_gpu(tensor_parallel, pipeline_parallel, sharded, elements):
    slots = AdapterSlots(WIDTHS, slots=4, rank=32, sharded=sharded)

    assert slots.gpu_bytes(tensor_parallel, pipeline_parallel) == elements * 4 * 32 * 2


COUNTED = [
    profile
    for profile in load_all(builtin_folder())
    if profile.about.fact("adapter_widths") is not None
]
DENSE = ("llama-3.1-8b", "llama-3.3-70b", "qwen3-8b", "qwen3-32b", "gemma-4-31b")


@pytest.mark.parametrize("name", DENSE)
def test_estimate_is_near_what_was_counted(name):
    [profile] = [item for item in COUNTED if item.name == name]
    about = profile.about
    encoders = about.fact("encoder_bytes")
    dense = about.fact("parameters").value - (encoders.value // 2 if encoders else 0)
    layers = sum(part.layers for part in about.fact("attention").value)
    estimate = estimate_widths(dense, layers)
    counted = about.fact("adapter_widths").value

    share = (estimate.copied + estimate.divided) / (counted.copied + counted.divided)
    assert 0.9 <= share <= 1.1
