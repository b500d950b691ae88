"""`worker bake`: the real hub client, a hub on loopback, and what a start makes of the result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import try_to_load_from_cache

from tests.fakes.hub import COMMIT, Hub, Repository
from worker.bake import run_bake
from worker.errors import ExitCode
from worker.machine import GIB, MachineInfo
from worker.settings import load_settings

GPU = MachineInfo(1, 24 * GIB)
REPO = "Org/Model-1B"
TOKEN = "hf_a_secret_token"

FILES = {
    "config.json": b'{"architectures": []}',
    "tokenizer.json": b'{"model": {}}',
    "model-1.safetensors": b"1" * 70_000,
    "model-2.safetensors": b"2" * 50_000,
    "stray.safetensors": b"3" * 10_000,
    "pytorch_model.bin": b"4" * 10_000,
    "README.md": b"# Model",
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    ).encode(),
}
TAKEN = sorted(set(FILES) - {"stray.safetensors", "pytorch_model.bin", "README.md"})


@pytest.fixture
def hub():
    with Hub(
        {REPO: Repository(dict(FILES)), "Org/Tokens": Repository({"tokenizer.json": b"{}"})}
    ) as hub:
        yield hub


@pytest.fixture
def build(hub, tmp_path, monkeypatch):
    """The arguments of a build into a folder of its own."""
    # Else the library asks its own site which agent this is, whatever the endpoint.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "MODEL_NAME": REPO,
        "BASE_PATH": str(tmp_path / "models"),
        "BAKED_FILE": str(tmp_path / "baked.json"),
    }


def bake(build, **more) -> int:
    return run_bake({**build, **more}, secret_file=Path("/absent"))


def manifest(build):
    return json.loads(Path(build["BAKED_FILE"]).read_bytes())


def start(build, **environ):
    return load_settings({"BAKED_FILE": build["BAKED_FILE"], **environ}, machine=GPU)


def value_of(settings, name):
    return next(((i.value, i.origin) for i in settings.values if i.option.name == name), None)


def test_bake_takes_the_files_that_vllm_loads_and_pins_the_commit(build, hub):
    assert bake(build) == ExitCode.OK
    model = manifest(build)["model"]
    assert (model["repo"], model["commit"], model["files"]) == (REPO, COMMIT, len(TAKEN))
    folder = Path(model["path"])
    assert sorted(path.name for path in folder.iterdir()) == TAKEN
    assert all((folder / name).read_bytes() == FILES[name] for name in TAKEN)
    assert sorted(hub.downloads()) == TAKEN


def test_bake_twice_downloads_nothing_again(build, hub):
    bake(build)
    hub.asked.clear()
    assert bake(build) == ExitCode.OK
    assert hub.downloads() == []


def test_bake_goes_on_where_the_connection_broke(build, hub):
    hub.broken["model-1.safetensors"] = 30_000
    status = bake(build)
    if status != ExitCode.OK:
        assert not Path(build["BAKED_FILE"]).exists()
        assert bake(build) == ExitCode.OK
    assert sorted(set(hub.downloads())) == TAKEN
    path = Path(manifest(build)["model"]["path"]) / "model-1.safetensors"
    assert path.read_bytes() == FILES["model-1.safetensors"]


def test_bake_damaged_file_is_refused_and_fetched_anew(build, hub, capsys):
    hub.damaged.add("model-2.safetensors")
    assert bake(build) == ExitCode.UNAVAILABLE
    assert "model-2.safetensors arrived damaged" in capsys.readouterr().err
    assert not Path(build["BAKED_FILE"]).exists()
    hub.damaged.clear()
    hub.asked.clear()
    assert bake(build) == ExitCode.OK
    assert hub.downloads() == ["model-2.safetensors"]


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        pytest.param({"MODEL_NAME": "Org/Nothing"}, 5, "check MODEL_NAME", id="no repository"),
        pytest.param({"MODEL_REVISION": "v9"}, 5, "no revision 'v9'", id="no revision"),
        pytest.param({"MODEL_NAME": "Org/Gated"}, 5, "accept its licence", id="gated"),
        pytest.param({"MODEL_NAME": "Org/Holes"}, 5, "its index names", id="incomplete"),
        pytest.param({"HF_ENDPOINT": "http://127.0.0.1:9"}, 5, "download failed", id="no hub"),
        pytest.param({"QUANTIZATION": "awqq"}, 2, "QUANTIZATION", id="bad setting"),
        pytest.param({"MODEL_NAMES": "x/y"}, 2, "MODEL_NAME", id="misspelt"),
        pytest.param({"WORKER_CUDA_VERSION": "12.1.0"}, 2, "VLLM_IMAGE", id="CUDA"),
    ],
)
def test_bake_that_cannot_be_done_names_the_cause_and_writes_no_manifest(
    build, hub, capsys, change, status, named
):
    hub.repositories["Org/Gated"] = Repository(dict(FILES), token=TOKEN, gated=True)
    holes = {name: data for name, data in FILES.items() if name != "model-2.safetensors"}
    hub.repositories["Org/Holes"] = Repository(holes)
    assert bake(build, **change) == status
    error = capsys.readouterr().err
    assert named in error
    assert "Traceback" not in error
    assert not Path(build["BAKED_FILE"]).exists()


def test_bake_without_a_model_does_nothing(capsys):
    assert run_bake({"BASE_PATH": "/models", "MODEL_NAME": ""}) == ExitCode.OK
    assert "nothing to bake" in capsys.readouterr().out


def test_bake_accepts_the_cuda_version_of_the_base_image(build):
    wanted = {"WORKER_CUDA_VERSION": "13.0.1", "CUDA_VERSION": "13.0.2"}
    assert bake(build, **wanted) == ExitCode.OK


def test_bake_folder_is_refused(build, tmp_path, capsys):
    (tmp_path / "config.json").write_text("{}")
    assert bake(build, MODEL_NAME=str(tmp_path)) == ExitCode.CONFIGURATION
    assert "COPY" in capsys.readouterr().err


def test_bake_secret_reaches_the_hub_and_no_file(build, hub, tmp_path, capsys):
    hub.repositories[REPO].token = TOKEN
    secret = tmp_path / "secret"
    secret.write_text(TOKEN + "\n")
    assert run_bake(build, secret_file=secret) == ExitCode.OK
    secret.unlink()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN.encode() not in written
    assert TOKEN not in "".join(capsys.readouterr())


def test_bake_tokenizer_of_another_repository(build):
    change = {"TOKENIZER_NAME": "Org/Tokens", "TOKENIZER_REVISION": "main", "QUANTIZATION": "awq"}
    assert bake(build, **change) == ExitCode.OK
    baked = manifest(build)
    assert baked["settings"] == {"QUANTIZATION": "awq"}
    settings = start(build)
    assert value_of(settings, "TOKENIZER") == (baked["tokenizer"]["path"], "baked")
    assert value_of(settings, "QUANTIZATION") == ("awq", "baked")
    assert settings.engine_environment()["HF_HUB_OFFLINE"] == "1"


def test_bake_code_of_another_repository_is_found_by_a_start_off_the_hub(build, hub):
    auto_map = {"AutoConfig": "Org/Code--configuration_own.OwnConfig", "AutoModel": "model.Own"}
    mapped = json.dumps({"auto_map": auto_map}).encode()
    hub.repositories[REPO].files["config.json"] = mapped
    code = {"configuration_own.py": b"class OwnConfig: ...", "weights.bin": b"1", "big.json": b"{}"}
    hub.repositories["Org/Code"] = Repository(code)

    assert bake(build) == ExitCode.OK
    assert [source["repo"] for source in manifest(build)["code"]] == ["Org/Code"]
    assert set(hub.downloads()) & set(code) == {"configuration_own.py"}

    engine = start(build, TRUST_REMOTE_CODE="true").engine_environment()
    assert engine["HF_HUB_OFFLINE"] == "1"
    # As Hugging Face's libraries look for it: by its name, on its main branch.
    found = try_to_load_from_cache("Org/Code", "configuration_own.py", engine["HF_HUB_CACHE"])
    assert Path(found).read_bytes() == code["configuration_own.py"]


def test_bake_code_that_cannot_be_had_fails_the_build(build, hub, capsys):
    mapped = json.dumps({"auto_map": {"AutoConfig": "Org/Gone--m.C"}}).encode()
    hub.repositories[REPO].files["config.json"] = mapped
    assert bake(build) == ExitCode.UNAVAILABLE
    assert "'Org/Gone'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({}, id="nothing set"),
        pytest.param({"MODEL_NAME": REPO}, id="the same name"),
        pytest.param({"MODEL_NAME": REPO.lower()}, id="its lower case"),
        pytest.param({"MODEL_NAME": REPO, "MODEL_REVISION": "main"}, id="its branch"),
        pytest.param({"MODEL_REVISION": COMMIT}, id="its commit"),
    ],
)
def test_start_serves_the_baked_model_under_its_public_name(build, environ):
    bake(build)
    settings = start(build, **environ)
    path = manifest(build)["model"]["path"]
    assert value_of(settings, "MODEL_NAME") == (path, "baked")
    assert value_of(settings, "REVISION") == (COMMIT, "baked")
    assert settings.model.served_name == REPO
    assert settings.engine_environment()["HF_HUB_OFFLINE"] == "1"
    assert settings.warnings == ()


def test_start_keeps_the_chosen_public_name(build):
    bake(build)
    settings = start(build, OPENAI_SERVED_MODEL_NAME_OVERRIDE="mine")
    assert settings.model.served_name == "mine"


@pytest.mark.parametrize(
    "environ", [{"MODEL_NAME": "Other/Model"}, {"MODEL_REVISION": "v2"}], ids=["model", "revision"]
)
def test_start_with_another_model_downloads_it_and_warns(build, environ):
    bake(build)
    settings = start(build, **environ)
    assert value_of(settings, "MODEL_NAME")[1] != "baked"
    assert "HF_HUB_OFFLINE" not in settings.engine_environment()
    assert [warning for warning in settings.warnings if REPO in str(warning)]


def test_start_with_a_hidden_model_downloads_it_and_warns(build):
    bake(build)
    Path(build["BASE_PATH"]).rename(build["BASE_PATH"] + "-hidden")
    settings = start(build)
    assert value_of(settings, "MODEL_NAME")[0] == REPO
    assert value_of(settings, "REVISION")[0] == COMMIT
    assert "HF_HUB_OFFLINE" not in settings.engine_environment()
    assert "volume" in str(settings.warnings[0])


def test_start_that_needs_the_hub_for_something_else_stays_online(build):
    bake(build)
    settings = start(
        build, SPECULATIVE_CONFIG='{"model": "Org/Draft", "num_speculative_tokens": 3}'
    )
    assert "HF_HUB_OFFLINE" not in settings.engine_environment()


def test_start_leaves_an_offline_choice_of_the_user(build):
    bake(build)
    assert "HF_HUB_OFFLINE" not in start(build, HF_HUB_OFFLINE="0").engine_environment()


def test_start_with_a_damaged_manifest_says_so(build, capsys):
    from worker.errors import ConfigurationError

    Path(build["BAKED_FILE"]).write_text('{"version": 7}')
    with pytest.raises(ConfigurationError, match="not a manifest"):
        start(build)


def test_start_reads_the_profile_that_was_baked(build, tmp_path):
    profile = tmp_path / "mine.yaml"
    profile.write_text(f"model_name: {REPO}\nmax_model_len: 4096\n")
    assert bake(build, MODEL_NAME="", PROFILE=str(profile)) == ExitCode.OK
    settings = start(build)
    assert value_of(settings, "MODEL_NAME")[1] == "baked"
    assert value_of(settings, "MAX_MODEL_LEN") == (4096, "profile mine")


def test_command_bakes_into_a_local_root(build, tmp_path):
    """The Dockerfile's step itself, as a process of its own."""
    command = [str(Path(sys.executable).with_name("worker")), "bake"]
    environ = {**os.environ, **build, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Baked {REPO}" in done.stdout
    assert manifest(build)["model"]["commit"] == COMMIT
