"""What reading weights and tokenizers in other ways relies on, in the installed vLLM."""

from __future__ import annotations

import pytest

from tests.e2e.support.probe import run_probe

pytestmark = pytest.mark.contract

PROBE = r"""
import copy, inspect, json, tempfile
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models
from transformers import tokenization_utils_tokenizers
from vllm.model_executor.model_loader import default_loader
from vllm.platforms import current_platform
from worker.engine import weight_reader
from worker.engine.startup_patches import OTHER_READING, read_weights_in_threads, share_tokenizers

own = default_loader.safetensors_weights_iterator
for option in OTHER_READING:
    read_weights_in_threads([option, "x"])
keeps_own = default_loader.safetensors_weights_iterator is own
read_weights_in_threads([])

folder = tempfile.mkdtemp()
files = [f"{folder}/model-{number}.safetensors" for number in (1, 10, 2)]
for number, file in enumerate(files):
    save_file({f"{number}.experts.{each}.weight": torch.full((2,), each) for each in (0, 1)}, file)

readers, GIB = [], 1024**3
class Reader(weight_reader.WeightReader):
    def __init__(self, device, ahead_bytes):
        readers.append([str(device), ahead_bytes])
        super().__init__(torch.device("cpu"), ahead_bytes)

def read(gpus, strategy=None, experts=None, free_bytes=4 * GIB):
    # In the way of vLLM's loader, on a machine with so many GPUs.
    with (
        patch.object(type(current_platform), "is_cuda", lambda _self: gpus > 0),
        patch.object(torch.distributed, "get_world_size", lambda: gpus),
        patch.object(torch.cuda, "mem_get_info", lambda: (free_bytes, 80 * GIB)),
        patch.object(torch.cuda, "current_device", lambda: 0),
        patch.object(weight_reader, "WeightReader", Reader),
    ):
        before = len(readers)
        weights = default_loader.safetensors_weights_iterator(
            files, False, strategy, local_expert_ids=experts,
            safetensors_prefetch_num_threads=1, safetensors_prefetch_block_size=1)
        return [[name, tensor.tolist()] for name, tensor in weights], len(readers) - before

expected = [[name, tensor.tolist()] for name, tensor in own(files, False)]
loader = inspect.getsource(default_loader.DefaultModelLoader._get_weights_iterator)
backend = inspect.getsource(tokenization_utils_tokenizers.TokenizersBackend.__init__)
tokenizer = Tokenizer(models.BPE())
with share_tokenizers():
    shared = copy.deepcopy(tokenizer) is tokenizer
print(json.dumps({
    "own_with_other_options": keeps_own,
    "one_gpu": read(1) == (expected, 1),
    "experts": read(1, experts={1})[0] == [each for each in expected if ".1." in each[0]],
    "reader": readers[0],
    "no_gpu": read(0) == (expected, 0),
    "full_gpu": read(1, free_bytes=3 * GIB) == (expected, 0),
    "two_gpus": read(2) == (expected, 0),
    "eager": read(1, "eager")[1] == 0,
    "loader_calls_it": "= safetensors_weights_iterator(" in loader,
    "transformers_copies": "copy.deepcopy(tokenizer_object)" in backend,
    "shared": shared,
    "shared_later": copy.deepcopy(tokenizer) is tokenizer,
}))
"""


@pytest.fixture(scope="module")
def contract() -> dict[str, object]:
    return run_probe(PROBE, "vLLM reads weights in another way")


@pytest.mark.parametrize(
    ("name", "expected", "reason"),
    [
        (
            "own_with_other_options",
            True,
            "the user's choice of a strategy, for example, is respected",
        ),
        ("one_gpu", True, "the same names and values in the same order, read by the worker"),
        ("experts", True, "experts of other ranks are left out"),
        ("reader", ["cuda:0", 1024**3], "onto the GPU, with a quarter of its free memory"),
        ("no_gpu", True, "vLLM reads them without a GPU"),
        ("full_gpu", True, "vLLM reads them for a GPU with too little free memory"),
        ("two_gpus", True, "vLLM reads them for several GPUs"),
        ("eager", True, "vLLM may choose a strategy itself, such as torchao's"),
        ("loader_calls_it", True, "startup_patches replaces the function in the loader's module"),
        ("transformers_copies", True, "if it makes no copy, share_tokenizers can go"),
        ("shared", True, "a copy would take 0.5 s"),
        ("shared_later", False, "others get copies of their own"),
    ],
)
def test_weights_and_tokenizers_are_read_as_vllm_reads_them(
    contract: dict[str, object], name: str, expected: object, reason: str
) -> None:
    assert contract[name] == expected, reason
