"""An image with a model inside, fetched from a hub with a build secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.hub import COMMIT, Hub, repository_of
from tests.image.buildah import Buildah, make_container
from tests.image.container_worker import serve
from tests.image.image_base import ROOT
from tests.image.image_report import report, report_layers, timed
from tests.image.token_search import export, find, read_layer_digests

IMAGE = "localhost/worker:baked"
REPOSITORY = "Org/Tiny"
TOKEN = "hf_ImageTestTokenThatNoLayerMayHold0123456789"
PORT = 18433
CHAT = {"model": REPOSITORY, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


@pytest.fixture(scope="module")
def baked(
    buildah: Buildah,
    base: str,
    options: list[str],
    model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The name of the image, from a hub that gives the model to who has the token."""
    secret = tmp_path_factory.mktemp("secret") / "token"
    secret.write_text(TOKEN)
    with Hub({REPOSITORY: repository_of(model)}) as hub:
        hub.repositories[REPOSITORY].token = TOKEN
        # The hub's address is not an argument of the Dockerfile: the base has it as a variable.
        container = buildah.ask("from", base)
        buildah.ask("config", "--env", f"HF_ENDPOINT={hub.url}", container)
        near = f"{base}-hub"
        buildah.ask("commit", "--rm", container, near)
        arguments = ["--build-arg", f"VLLM_IMAGE={near}", "--build-arg", f"MODEL_NAME={REPOSITORY}"]
        with timed("build with a model, from a hub that wants the token"):
            buildah.build(
                IMAGE, ROOT, *arguments, "--secret", f"id=HF_TOKEN,src={secret}", *options
            )
        assert any(name.endswith(".safetensors") for name in hub.downloads())
    report_layers(buildah, IMAGE)
    return IMAGE


def test_no_layer_holds_the_token(buildah: Buildah, baked: str, tmp_path: Path) -> None:
    with timed("search of every layer and of the history"):
        files = export(buildah, baked, tmp_path / "exported")
        found = find(files, TOKEN)
    names = {path.name for path in files}
    layers = read_layer_digests(tmp_path / "exported")

    assert layers <= names, "every layer was searched"
    assert found == []
    # The search finds what is there: the model's name in a layer and in the history.
    seen = find(files, REPOSITORY)
    assert set(seen) & layers
    assert set(seen) - layers - {"manifest.json"}
    size = sum(path.stat().st_size for path in files)
    report.append(
        f"token search: {len(layers)} layers and {len(files) - len(layers)} descriptions, "
    )
    report.append(f"  {size / 1e9:.2f} GB, found in {len(found)}; control found in {len(seen)}")


def test_baked_image_serves_without_network_root_or_volume(
    buildah: Buildah, baked: str, tmp_path: Path
) -> None:
    environ = {"RUNPOD_POD_ID": "pod", "MAX_MODEL_LEN": "512", "HTTP_PORT": str(PORT)}
    with make_container(buildah, baked, environ=environ, user="1000:1000") as container:
        manifest = json.loads(container.run("cat", "baked.json").stdout)
        log = tmp_path / "worker.log"
        entrypoint = buildah.inspect(baked)["Docker"]["config"]["Entrypoint"]
        with serve(container, entrypoint, PORT, log, network=False) as worker:
            status, answer = worker.ask("/v1/chat/completions", CHAT)
            left = worker.stop()

    assert COMMIT in json.dumps(manifest)
    assert status == 200, answer
    assert json.loads(answer)["model"] == REPOSITORY
    assert left == 0, log.read_text()[-2000:]
    report.append(f"{worker.ready_s:6.1f} s  start of the baked model without network until ready")


def test_two_builds_install_the_same_packages(buildah: Buildah, image: str, baked: str) -> None:
    bills = []
    for name in (image, baked):
        with make_container(buildah, name) as container:
            bills.append(json.loads(container.run("cat", "sbom.cdx.json").stdout))

    assert bills[0] == bills[1]
    assert len(bills[0]["components"]) > 100
