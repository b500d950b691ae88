"""Models that are already on the machine: found in any case, whole, and named as before."""

import json
import shutil

import pytest

from worker.machine import GIB, MachineInfo
from worker.models.cached import cache_roots, find_snapshots
from worker.settings import load_settings

REPOSITORY = "Qwen/Qwen3-8B"
COMMIT, OTHER = "a" * 40, "b" * 40


def write_snapshot(root, *, folder="models--Qwen--Qwen3-8B", commit=COMMIT, ref="main", shards=2):
    """Write a repository as huggingface_hub does: files are links to blobs."""
    base = root / folder
    snapshot = base / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (base / "blobs").mkdir(exist_ok=True)
    files = {f"model-{n}.safetensors": b"weights" for n in range(shards)}
    index = {"weight_map": {f"layer.{n}": name for n, name in enumerate(files)}}
    files |= {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode()}
    for name, content in files.items():
        blob = base / "blobs" / f"{commit[:4]}-{name}"
        blob.write_bytes(content)
        (snapshot / name).symlink_to(blob)
    if ref:
        (base / "refs").mkdir(exist_ok=True)
        (base / "refs" / ref).write_text(commit)
    return snapshot


def find(root, repository=REPOSITORY, revision=None):
    return list(find_snapshots(repository, revision, [root]))


@pytest.mark.parametrize("folder", ["models--Qwen--Qwen3-8B", "models--qwen--qwen3-8b"])
def test_find_copies_in_any_case(tmp_path, folder):
    snapshot = write_snapshot(tmp_path, folder=folder)

    [copy] = find(tmp_path)
    assert (copy.path, copy.missing) == (snapshot, ())


def test_find_copies_takes_main_before_other_snapshots(tmp_path):
    write_snapshot(tmp_path, commit=OTHER, ref="v1")
    main = write_snapshot(tmp_path)

    assert [copy.path for copy in find(tmp_path)] == [main]


def test_find_copies_without_refs_takes_the_first_snapshot(tmp_path):
    write_snapshot(tmp_path, commit=OTHER, ref=None)
    first = write_snapshot(tmp_path, ref=None)

    assert find(tmp_path)[0].path == first


@pytest.mark.parametrize("revision", ["v1", OTHER])
def test_find_copies_of_a_revision(tmp_path, revision):
    write_snapshot(tmp_path)
    other = write_snapshot(tmp_path, commit=OTHER, ref="v1")

    assert [copy.path for copy in find(tmp_path, revision=revision)] == [other]
    assert find(tmp_path, revision="v2") == []


@pytest.mark.parametrize(
    ("spoil", "missing"),
    [
        (lambda path: (path / "model-1.safetensors").unlink(), "model-1.safetensors"),
        (lambda path: (path / "model-0.safetensors").resolve().unlink(), "model-0.safetensors"),
        (lambda path: (path / "config.json").unlink(), "config.json"),
        (
            lambda path: (path / "model.safetensors.index.json").resolve().write_text("{"),
            "model.safetensors.index.json",
        ),
    ],
    ids=["no-shard", "no-blob", "no-configuration", "broken-index"],
)
def test_find_copies_says_what_is_missing(tmp_path, spoil, missing):
    spoil(write_snapshot(tmp_path))

    [copy] = find(tmp_path)
    assert missing in copy.missing or missing.endswith("index.json")
    assert copy.missing or missing.endswith("index.json")


def test_find_copies_of_a_model_in_one_file(tmp_path):
    snapshot = write_snapshot(tmp_path, shards=1)
    (snapshot / "model.safetensors.index.json").unlink()
    assert find(tmp_path)[0].missing == ()

    (snapshot / "model-0.safetensors").unlink()
    assert find(tmp_path)[0].missing == ("weights",)


def test_cache_roots_begin_with_the_platforms(tmp_path):
    environ = {"HF_HOME": "/hf", "HF_HUB_CACHE": "/cache", "HOME": "/home/you"}

    roots = [str(path) for path in cache_roots(environ, tmp_path, tmp_path)]
    assert roots == [
        f"{tmp_path}/runpod-volume/huggingface-cache/hub",
        f"{tmp_path}/huggingface-cache/hub",
        "/cache",
        "/hf/hub",
    ]


@pytest.fixture
def volume(tmp_path):
    """A BASE_PATH with a complete model, in lower case as RunPod writes it."""
    root = tmp_path / "huggingface-cache" / "hub"
    return tmp_path, write_snapshot(root, folder="models--qwen--qwen3-8b")


def load(environ, **options):
    return load_settings({"CUDA_VISIBLE_DEVICES": "", **environ}, **options)


def test_cached_model_is_served_from_its_folder_under_its_own_name(volume):
    base, snapshot = volume

    settings = load({"MODEL_NAME": REPOSITORY, "BASE_PATH": str(base)})

    assert settings.model.name == str(snapshot)
    assert settings.model.served_name == REPOSITORY
    assert settings.engine_environment()["HF_HUB_OFFLINE"] == "1"
    assert settings.profile.name == "qwen3-8b"
    [model] = [item for item in settings.values if item.option.name == "MODEL_NAME"]
    assert model.origin == "cached, for environment"


def test_cached_model_of_a_profile(volume):
    base, snapshot = volume

    settings = load({"PROFILE": "qwen3-8b", "BASE_PATH": str(base)})

    assert settings.model.name == str(snapshot)
    assert settings.model.served_name == REPOSITORY


def test_cached_model_keeps_a_name_that_was_chosen(volume):
    environ = {"OPENAI_SERVED_MODEL_NAME_OVERRIDE": "mine", "BASE_PATH": str(volume[0])}

    assert load({"MODEL_NAME": REPOSITORY, **environ}).model.served_name == "mine"


def test_cached_model_with_code_of_its_own_may_ask_the_hub(volume):
    environ = {"MODEL_NAME": REPOSITORY, "BASE_PATH": str(volume[0]), "TRUST_REMOTE_CODE": "true"}

    assert "HF_HUB_OFFLINE" not in load(environ).engine_environment()


@pytest.mark.parametrize(("allowed", "offline"), [("org/*", False), ("{}", True)])
def test_cached_model_asks_the_hub_for_adapters_of_the_hub_only(volume, allowed, offline):
    base = str(volume[0])
    environ = {"MODEL_NAME": REPOSITORY, "BASE_PATH": base, "LORA_ALLOWED": allowed.format(base)}

    assert ("HF_HUB_OFFLINE" in load(environ).engine_environment()) is offline


def test_incomplete_copy_is_downloaded_with_a_warning(volume):
    base, snapshot = volume
    (snapshot / "model-1.safetensors").unlink()

    settings = load({"MODEL_NAME": REPOSITORY, "BASE_PATH": str(base)})

    assert settings.model.name == REPOSITORY
    assert "HF_HUB_OFFLINE" not in settings.engine_environment()
    [warning] = [item for item in settings.warnings if "not complete" in item.message]
    assert warning.message.endswith("model-1.safetensors")


def test_model_without_a_copy_is_left_to_the_hub(volume):
    base, _snapshot = volume
    shutil.rmtree(base / "huggingface-cache")

    settings = load({"MODEL_NAME": REPOSITORY, "BASE_PATH": str(base)})

    assert settings.model.name == REPOSITORY
    assert settings.warnings == ()


def test_load_for_another_machine_ignores_the_cached_model(volume):
    environ = {"MODEL_NAME": REPOSITORY, "BASE_PATH": str(volume[0])}

    assert load(environ, machine=MachineInfo(1, GIB)).model.name == REPOSITORY
