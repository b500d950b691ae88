"""The image, built for real: `make image-test`. Skipped where buildah cannot be installed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support.tiny_model import build_tiny_model
from tests.e2e.support.tiny_weights import write_weights
from tests.image.buildah import Buildah, find_obstacle
from tests.image.image_base import ROOT, build_options, cache_folder, make_base
from tests.image.image_report import report, report_layers, timed

IMAGE = "localhost/worker:plain"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the notes; say loudly when there was nothing to note."""
    terminalreporter.section("the image")
    for reports in terminalreporter.stats.get("skipped", [])[:1]:
        terminalreporter.write_line(f"NOT BUILT, NOT TESTED: {reports.longrepr[2]}", red=True)
    for line in report:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def buildah(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildah]:
    """Buildah with its own storage, which later runs find again, for one run at a time."""
    obstacle = find_obstacle()
    if obstacle is not None:
        pytest.skip(obstacle)
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Buildah(folder, tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="session")
def base(buildah: Buildah, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the image that stands in for vLLM's own."""
    with timed("base image (kept between runs)"):
        return make_base(buildah, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of every build: where packages come from."""
    return build_options(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="session")
def image(buildah: Buildah, base: str, options: list[str]) -> str:
    """The name of the image without a model, built on the base's digest."""
    digest = buildah.inspect(base)["FromImageDigest"]
    pinned = f"{base.rpartition(':')[0]}@{digest}"
    with timed("build (kept layers are not built again)"):
        buildah.build(IMAGE, ROOT, "--build-arg", f"VLLM_IMAGE={pinned}", *options)
    report_layers(buildah, IMAGE)
    return IMAGE


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random model, which every user may read."""
    folder = build_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    write_weights(folder)
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder
