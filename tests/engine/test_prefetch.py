"""Weights that are read ahead."""

import pytest

from worker.engine.prefetch import BLOCK_BYTES, Prefetch, find_weights, free_memory


@pytest.fixture
def cache(tmp_path):
    snapshot = tmp_path / "hub" / "models--Org--Model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for name in ("b.safetensors", "a.safetensors", "config.json", "x.bin"):
        (snapshot / name).write_bytes(b"12345")
    refs = tmp_path / "hub" / "models--Org--Model" / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc\n")
    return tmp_path


@pytest.mark.parametrize(
    ("model", "revision", "variables", "found"),
    [
        pytest.param("Org/Model", None, ("HF_HOME", ""), 2, id="by HF_HOME"),
        pytest.param("Org/Model", None, ("HF_HUB_CACHE", "hub"), 2, id="by HF_HUB_CACHE"),
        pytest.param("Org/Model", "abc", ("HF_HOME", ""), 2, id="by its commit"),
        pytest.param("Org/Model", "v2", ("HF_HOME", ""), 0, id="another revision"),
        pytest.param("Org/Other", None, ("HF_HOME", ""), 0, id="not here yet"),
    ],
)
def test_find_weights_in_the_cache(cache, model, revision, variables, found):
    name, folder = variables
    files = find_weights(model, revision, {name: str(cache / folder)})
    assert [file.name for file in files] == ["a.safetensors", "b.safetensors"][:found]


def test_find_weights_in_a_folder(cache):
    folder = cache / "hub" / "models--Org--Model" / "snapshots" / "abc"
    assert len(find_weights(str(folder), "abc", {})) == 2


def test_prefetch_reads_everything(cache):
    files = find_weights("Org/Model", None, {"HF_HOME": str(cache)})
    assert Prefetch(files, free_memory()).run() == 10


def test_prefetch_stops_at_its_limit(tmp_path):
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(BLOCK_BYTES * 4)
    assert Prefetch([file], BLOCK_BYTES * 2).run() == BLOCK_BYTES * 2


def test_prefetch_that_is_stopped_or_finds_nothing_reads_nothing(tmp_path):
    stopped = Prefetch([tmp_path], 1)
    stopped.stop()
    assert stopped.run() == 0
    assert Prefetch([tmp_path / "gone"], 1).run() == 0
