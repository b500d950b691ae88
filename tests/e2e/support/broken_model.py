"""A plugin for vLLM, as its users write them: the served model, whose forward can be broken.

`install` makes a folder for PYTHONPATH in which vLLM finds the plugin by its entry point.
"""

from __future__ import annotations

from pathlib import Path

ORDER = "BREAK_FORWARD"
"""Variable with the path of a file; what it says is done at each forward from then on."""

SLOW, RAISE, ALLOCATE = "slow", "raise", "allocate"

PLUGIN = f'''
import os
import time
from pathlib import Path

def register():
    from vllm import ModelRegistry
    ModelRegistry.register_model(
        "Blip2ForConditionalGeneration", "broken_forward_model:BrokenBlip2"
    )

def obey(tokens):
    try:
        order = Path(os.environ["{ORDER}"]).read_text()
    except FileNotFoundError:
        return
    if order in ("{SLOW}", "{RAISE}"):
        time.sleep(0.05)
    # With 8 sequences that generate, only a request that is new brings more.
    if order == "{RAISE}" and tokens > 40:
        raise RuntimeError("a layer of the model is broken")
    if order == "{ALLOCATE}":
        import torch
        hoard = []
        while True:
            hoard.append(torch.empty(1 << 50, dtype=torch.uint8))
'''

MODEL = """
from vllm.model_executor.models.blip2 import Blip2ForConditionalGeneration
from broken_forward import obey

class BrokenBlip2(Blip2ForConditionalGeneration):
    def forward(self, input_ids, positions, *args, **kwargs):
        obey(positions.shape[-1])
        return super().forward(input_ids, positions, *args, **kwargs)
"""


def install(folder: Path) -> dict[str, str]:
    """Put the plugin into `folder`; return the variables with which vLLM finds it."""
    metadata = folder / "broken_forward-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-forward\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[vllm.general_plugins]\nbroken_forward = broken_forward:register\n"
    )
    (folder / "broken_forward.py").write_text(PLUGIN)
    (folder / "broken_forward_model.py").write_text(MODEL)
    return {"PYTHONPATH": str(folder), ORDER: str(folder / "order")}
