"""What `worker.engine.adapter_patches` uses of vLLM; fails with the reason."""

from __future__ import annotations

import pytest

from tests.e2e.support.probe import run_probe

pytestmark = pytest.mark.contract

PROBE = """
import inspect, json
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.pooling.base.serving import PoolingBaseServing
from vllm.entrypoints.serve.engine.serving import BaseServing
from vllm.entrypoints.serve.lora import api_router
from vllm.distributed import get_pp_group
from vllm.exceptions import GracefulHTTPError, VLLMNotFoundError, VLLMValidationError
from vllm.lora import model_manager, worker_manager
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.request import LoRARequest
from vllm.model_executor.layers.linear import LinearBase
from vllm.v1.engine.exceptions import EngineDeadError

def lacks(place, *texts):
    source = inspect.getsource(place)
    return [text for text in texts if text not in source]

print(json.dumps({
    "names": [lacks(serving._check_model, "if request.model in self.models.lora_requests",
        "envs.VLLM_ALLOW_RUNTIME_LORA_UPDATING",
        "await self.models.resolve_lora(request.model)")
        for serving in (BaseServing, PoolingBaseServing)],
    "default": list(inspect.signature(BaseServing._get_active_default_mm_loras).parameters),
    "routes": lacks(api_router.attach_router, "if not envs.VLLM_ALLOW_RUNTIME_LORA_UPDATING:"),
    "models": lacks(OpenAIServingModels, "self.lora_requests: dict",
        "def resolve_lora(self, lora_name: str)", "def show_available_models(self)",
        "self.engine_client =", "self.base_model_paths ="),
    "request": list(LoRARequest.__struct_fields__[:3]),
    "check": list(inspect.signature(PEFTHelper.validate_legal).parameters),
    "worker": lacks(worker_manager, "def add_adapter(self, lora_request: LoRARequest)",
        "lora = self._load_adapter(lora_request)", "self._adapter_manager.add_adapter(lora)",
        "def list_adapters(self)"),
    "manager": lacks(model_manager, "self.modules: dict", "self.packed_modules: dict",
        "def remove_adapter(self, adapter_id: int)", "self.lora_config =",
        "self.is_pooling_model ="),
    "pipeline": list(inspect.signature(get_pp_group).parameters),
    "layers": lacks(LinearBase, "self.input_size =", "self.output_size =", "self.tp_size ="),
    "errors": [issubclass(kind, Exception) for kind in
        (GracefulHTTPError, VLLMNotFoundError, VLLMValidationError, EngineDeadError)],
}))
"""


@pytest.fixture(scope="module")
def contract() -> dict[str, object]:
    return run_probe(PROBE, "vLLM has moved what is patched")


@pytest.mark.parametrize(
    ("name", "expected", "reason"),
    [
        ("names", [[], []], "the patch replaces how an unknown name is resolved"),
        ("default", ["self", "request"], "adapters by name are not defaults of a modality"),
        ("routes", [], "the variable is set after this; the routes stay closed"),
        ("models", [], "the patch wraps and replaces these methods"),
        ("request", ["lora_name", "lora_int_id", "lora_path"], "the patch creates it"),
        ("check", ["self", "lora_config"], "an adapter is checked before its weights come"),
        ("worker", [], "the patch checks shapes and forgets an adapter that fails"),
        ("manager", [], "the patch compares its layers with those of the adapter"),
        ("pipeline", [], "the patch asks whether this process has all layers"),
        ("layers", [], "the sizes of a layer are those of the whole model"),
        ("errors", [True] * 4, "vLLM's server turns them into answers"),
    ],
)
def test_vllm_has_what_adapters_by_name_use(
    contract: dict[str, object], name: str, expected: object, reason: str
) -> None:
    assert contract[name] == expected, reason
