"""What the shortened import of vLLM relies on, in the installed vLLM and its libraries."""

from __future__ import annotations

import pytest

from tests.e2e.support.probe import run_probe

pytestmark = pytest.mark.contract

PROBE = r"""
import json, sys
from worker.engine import vllm_import

vllm_import.import_configuration()
# Before the import of a parser, which has the API server's modules.
vllm_import.compile_at_first_call()
from worker.engine.child import load_cli_args
load_cli_args()
import vllm.entrypoints.cli.serve
inductor = [name for name in sys.modules if name == "torch._inductor.lowering"]

import torch

@torch.compile(dynamic=True, backend="eager")
def double(tensor):
    return 2 * tensor

@torch.compile(fullgraph=True, backend="eager")
def quadruple(tensor):
    return double(double(tensor))

from torch._inductor.lowering import FALLBACK_ALLOW_LIST as fallbacks
from transformers.utils import import_utils

models = import_utils.__file__.replace("utils/import_utils.py", "models")
read = import_utils.create_import_structure_from_path
own = read.__wrapped__.__wrapped__
print(json.dumps({
    "inductor_in_the_server": inductor,
    "operators_of_vllm": ["vllm::anything" in fallbacks, "aten::anything" in fallbacks],
    "models_are_read_once": read(models) is read(models + "/__init__.py"),
    "names_of_models": read(models) == own(models),
    "compiled_in_another_function": quadruple(torch.ones(2)).tolist(),
}))
"""


@pytest.fixture(scope="module")
def contract() -> dict[str, object]:
    return run_probe(PROBE, "vLLM is imported in another way")


@pytest.mark.parametrize(
    ("name", "expected", "reason"),
    [
        (
            "inductor_in_the_server",
            [],
            "something else imports Inductor, 1 s; if it must, vllm_import.defer_inductor can go",
        ),
        ("operators_of_vllm", [True, False], "vLLM's patch of Inductor is applied when it comes"),
        ("models_are_read_once", True, "transformers reads 2,000 files twice otherwise"),
        ("compiled_in_another_function", [4.0, 4.0], "PyTorch traces what it would compile later"),
        ("names_of_models", True, "the list of the image is what transformers reads itself"),
    ],
)
def test_import_of_vllm_leaves_out_what_a_server_does_not_need(
    contract: dict[str, object], name: str, expected: object, reason: str
) -> None:
    assert contract[name] == expected, reason
