from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.model import build_sized_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sized_model(tmp_path_factory.mktemp("model") / "m", "cpu", max_model_len=2048)
