"""The tiny model as one that brings program code of its own, which tells when it is run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.support.tiny_model import build_tiny_model

CODE = """
from pathlib import Path
from transformers import LlamaConfig

Path({mark!r}).touch()

class OwnConfig(LlamaConfig):
    model_type = "own-llama"
"""


def build_own_code_model(directory: Path) -> tuple[Path, Path]:
    """Put the model into `directory`, which is new.

    Returns:
        The model, and the file that is there as soon as its code has run.
    """
    model = build_tiny_model(directory / "own-llama")
    mark = directory / "its code has run"
    (model / "configuration_own.py").write_text(CODE.format(mark=str(mark)))
    file = model / "config.json"
    config = json.loads(file.read_bytes())
    config |= {"model_type": "own-llama", "auto_map": {"AutoConfig": "configuration_own.OwnConfig"}}
    file.write_text(json.dumps(config))
    return model, mark
