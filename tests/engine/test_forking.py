from __future__ import annotations

import pytest

from worker.engine import forking, vllm_import


@pytest.fixture
def forked(monkeypatch):
    """What would have been forked; nothing is."""
    made = []
    monkeypatch.setattr(forking, "PreparedProcess", lambda *args: made.append(args) or made)
    monkeypatch.delenv("VLLM_WORKER_MULTIPROC_METHOD", raising=False)
    return made


def patch() -> None:
    """What the engine's process does last."""


def test_prepare_engine_for_a_model_on_the_disk_forks_it(forked, tmp_path):
    assert forking.prepare_engine(["--model", str(tmp_path), "--seed", "0"], patch)
    assert [name for _prepare, name, _here in forked] == ["EngineCore"]


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
    assert forking.prepare_engine(words, patch) is None
    assert forked == []


def test_prepare_engine_leaves_a_spawned_engine_to_vllm(forked, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    assert forking.prepare_engine(["--model", str(tmp_path)], patch) is None
    assert forked == []


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--seed", "0", {"import", "patch", "context"}),
        ("--tensor-parallel-size", "1", {"import", "patch", "context"}),
        # The engine forks or spawns the processes that use the GPUs.
        ("--tensor-parallel-size", "2", {"import", "patch"}),
        ("--data-parallel-size", "2", {"import", "patch"}),
    ],
)
def test_only_an_engine_that_computes_itself_uses_the_gpu(
    forked, tmp_path, monkeypatch, option, value, expected
):
    done = []
    monkeypatch.setattr(vllm_import, "import_engine", lambda: done.append("import"))
    monkeypatch.setattr(vllm_import, "create_cuda_context", lambda: done.append("context"))

    forking.prepare_engine(["--model", str(tmp_path), option, value], lambda: done.append("patch"))
    [(prepare, _name, prepare_here)] = forked
    prepare()
    prepared, done[:] = list(done), []
    prepare_here()

    assert set(prepared) == expected
    assert done == ["import", "patch"], "this process serves, and must not use the GPU"
