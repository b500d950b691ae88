"""The image without a model: what it holds, how it is described, and that it serves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.image.buildah import Buildah, make_container
from tests.image.container_worker import serve
from tests.image.image_base import ROOT
from tests.image.image_report import report, timed

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
SMALL_BYTES = 5_000_000
"""More than the worker's own layers have."""


def test_image_is_described_as_documented(buildah: Buildah, image: str) -> None:
    config = buildah.inspect(image)["Docker"]["config"]

    assert config["Entrypoint"] == ["worker", "start"]
    assert config["Cmd"] in ([], None)
    assert config["WorkingDir"] == "/opt/worker"
    assert config["User"] == "", "root, which RunPod's volumes belong to"
    assert config["Healthcheck"]["Test"] == ["CMD", "worker", "health"]
    assert config["Healthcheck"]["StartPeriod"] == 20 * 60 * 10**9
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == "runpod-vllm-worker"
    assert {"org.opencontainers.image.description", "org.opencontainers.image.licenses"} <= set(
        labels
    )


def test_image_holds_the_list_of_its_packages(buildah: Buildah, image: str) -> None:
    with make_container(buildah, image) as container:
        bill = json.loads(container.run("cat", "sbom.cdx.json").stdout)
        code = (
            "import importlib.metadata as m, json; "
            "print(json.dumps({d.name: d.version for d in m.distributions()}))"
        )
        installed = json.loads(container.run("python3", "-c", code).stdout)
        shown = container.run("worker", "--version").stdout

    version = installed.pop("runpod-vllm-worker")
    assert f"worker {version}\n" in shown
    assert bill["bomFormat"] == "CycloneDX"
    assert {part["name"]: part["version"] for part in bill["components"]} == installed
    assert bill["metadata"]["component"]["name"] == "runpod-vllm-worker"
    assert "runpod" in installed
    assert "cyclonedx-bom" not in installed


def test_image_holds_the_production_package_only(buildah: Buildah, image: str) -> None:
    with make_container(buildah, image) as container:
        tools = container.run("python3", "-c", "import worker_tools")
        files = set(container.run("ls", "/opt/worker").stdout.split())
        listed = container.run("worker", "--help")
        missing = container.run("worker", "deploy")

    assert "ModuleNotFoundError" in tools.stderr
    assert {"worker", "profiles"} <= files
    assert files & {"tools", "tests", "benchmarks", "docs"} == set()
    assert "health" in listed.stdout
    assert "own machine" not in listed.stdout
    assert missing.returncode == 2
    assert "pip install runpod-vllm-worker-tools" in missing.stderr


def test_check_inside_the_image_accepts_a_configuration(
    buildah: Buildah, image: str, model: Path
) -> None:
    mount = f"{model}:/models/tiny:ro"
    with make_container(
        buildah, image, environ={"MODEL_NAME": "/models/tiny"}, mounts=[mount]
    ) as container:
        good = container.run("worker", "check")
        bad = container.run("env", "MAX_MODEL_LEN=many", "worker", "check")

    assert good.returncode == 0, good.stderr
    assert "/models/tiny" in good.stdout
    assert bad.returncode == 2, "a configuration error"
    assert "MAX_MODEL_LEN" in bad.stdout + bad.stderr


@pytest.mark.parametrize(
    ("user", "port"),
    [pytest.param(None, 18431, id="root"), pytest.param("1000:1000", 18432, id="another-user")],
)
def test_image_serves_and_leaves_on_sigterm(
    buildah: Buildah, image: str, model: Path, tmp_path: Path, user: str | None, port: int
) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    if user is not None:
        shutil.chown(volume, *map(int, user.split(":")))
    environ = {
        "RUNPOD_POD_ID": "pod",
        "MODEL_NAME": "/models/tiny",
        "MAX_MODEL_LEN": "512",
        "HTTP_PORT": str(port),
    }
    mounts = [f"{model}:/models/tiny:ro", f"{volume}:/runpod-volume"]
    entrypoint = buildah.inspect(image)["Docker"]["config"]["Entrypoint"]
    with make_container(buildah, image, environ=environ, mounts=mounts, user=user) as container:
        before = container.run("worker", "health")
        with serve(container, entrypoint, port, tmp_path / "worker.log") as worker:
            healthy = container.run("worker", "health")
            status, answer = worker.ask("/v1/chat/completions", CHAT)
            owner = worker.find_worker().uids().effective
            left = worker.stop()
        log = (tmp_path / "worker.log").read_text()

    assert before.returncode != 0
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert status == 200, answer
    assert json.loads(answer)["choices"][0]["message"]["role"] == "assistant"
    assert owner == (int(user.split(":")[0]) if user else 0)
    assert left == 0, log[-2000:]
    assert "ermission denied" not in log
    kept = [path for path in volume.rglob("*") if path.is_file()]
    assert kept, "compiled code is kept on the volume"
    report.append(f"{worker.ready_s:6.1f} s  start as {user or 'root'} until ready")


def test_a_change_of_one_line_rebuilds_small_layers_only(
    buildah: Buildah, base: str, image: str, options: list[str], tmp_path: Path
) -> None:
    for name in ("Dockerfile", ".dockerignore", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    for name in ("requirements", "scripts", "profiles", "worker"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    changed_file = tmp_path / "worker" / "errors.py"
    changed_file.write_text(changed_file.read_text() + "# One line more.\n")
    digest = buildah.inspect(base)["FromImageDigest"]
    pinned = f"VLLM_IMAGE={base.rpartition(':')[0]}@{digest}"
    with timed("build after a change of one line of worker/"):
        buildah.build("localhost/worker:changed", tmp_path, "--build-arg", pinned, *options)

    before = {layer.digest for layer in buildah.layers(image)}
    after = buildah.layers("localhost/worker:changed")
    changed = [layer for layer in after if layer.digest not in before]
    kept = [layer for layer in after if layer.digest in before]
    report.append(f"layers that changed: {[f'{layer.size / 1e6:.2f} MB' for layer in changed]}")
    assert 1 <= len(changed) <= 3
    assert sum(layer.size for layer in changed) < SMALL_BYTES
    assert any(layer.size > 100_000_000 for layer in kept), "the packages' layer is a large one"
