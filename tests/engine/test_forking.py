from __future__ import annotations

import pytest

from worker.engine import forking


@pytest.fixture
def forked(monkeypatch):
    """What would have been forked; nothing is."""
    made = []
    monkeypatch.setattr(forking, "PreparedProcess", lambda *args: made.append(args) or made)
    monkeypatch.delenv("VLLM_WORKER_MULTIPROC_METHOD", raising=False)
    return made


def test_prepare_engine_for_a_model_on_the_disk_forks_it(forked, tmp_path):
    assert forking.prepare_engine(["--model", str(tmp_path), "--seed", "0"])
    assert [name for _prepare, name in forked] == ["EngineCore"]


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["--model", "org/name"], id="model-to-download"),
        pytest.param([], id="no-model"),
        pytest.param(["--model", "{folder}", "--headless"], id="no-engine-of-its-own"),
    ],
)
def test_prepare_engine_leaves_other_starts_to_vllm(forked, tmp_path, arguments):
    words = [word.format(folder=tmp_path) for word in arguments]
    assert forking.prepare_engine(words) is None
    assert forked == []


def test_prepare_engine_leaves_a_spawned_engine_to_vllm(forked, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    assert forking.prepare_engine(["--model", str(tmp_path)]) is None
    assert forked == []
