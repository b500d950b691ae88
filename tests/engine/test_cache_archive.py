"""Compiled code in one file, for machines with the same GPU."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import orjson
import pytest

from worker.engine import cache_archive
from worker.engine.cache_archive import (
    FILES,
    MANIFEST,
    ArchiveError,
    compare,
    describe,
    export_cache,
    import_cache,
    run_cache,
)
from worker.errors import ExitCode, UnavailableError
from worker.machine import GIB, MachineInfo
from worker.settings import Settings, load_settings

HERE = {"gpu": "NVIDIA H100", "vllm": "0.32.0", "arguments": ["--model", "org/model"]}


def settings_of(cache: Path, **environ: str) -> Settings:
    return load_settings({"MODEL_NAME": "org/model", "CACHE_PATH": str(cache), **environ})


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    settings = settings_of(tmp_path / "kept")
    assert settings.cache is not None
    code = settings.cache / "vllm/torch_compile_cache/abc/code.py"
    code.parent.mkdir(parents=True)
    code.write_text("compiled")
    export_cache(settings, tmp_path / "cache.tar.gz")
    return tmp_path / "cache.tar.gz"


def test_imported_files_are_the_exported_ones(archive: Path, tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "other")

    line = import_cache(settings, archive)

    assert settings.cache is not None
    assert (settings.cache / "vllm/torch_compile_cache/abc/code.py").read_text() == "compiled"
    assert line == f"{settings.cache}: 1 files added"


def test_import_leaves_files_that_are_there(archive: Path, tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "other")
    assert settings.cache is not None
    newer = settings.cache / "vllm/torch_compile_cache/abc/code.py"
    newer.parent.mkdir(parents=True)
    newer.write_text("newer")

    import_cache(settings, archive)

    assert newer.read_text() == "newer"


def test_import_for_other_arguments_is_refused(archive: Path, tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "other", MAX_MODEL_LEN="512")

    with pytest.raises(ArchiveError, match=r"--max-model-len 512 .*here"):
        import_cache(settings, archive)

    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("gpu", "NVIDIA L4", "gpu was NVIDIA L4 and is NVIDIA H100 here"),
        ("vllm", "0.31.0", "vllm was 0.31.0 and is 0.32.0 here"),
    ],
)
def test_archive_of_another_machine_is_refused_with_the_difference(
    name: str, value: str, text: str
) -> None:
    with pytest.raises(ArchiveError, match=text):
        compare({**HERE, name: value}, HERE)


def test_archive_of_this_machine_fits() -> None:
    compare(HERE, HERE)


def test_description_has_the_gpu_and_the_versions(tmp_path: Path) -> None:
    machine = MachineInfo(1, 64 * GIB, gpu_name="NVIDIA H100")

    described = describe(settings_of(tmp_path), machine)

    assert described["gpu"] == "NVIDIA H100"
    assert described.keys() > {"gpus", "vllm", "torch", "triton", "arguments"}


def test_export_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="start the worker once"):
        export_cache(settings_of(tmp_path / "empty"), tmp_path / "cache.tar.gz")


def test_caches_that_are_not_kept_cannot_be_carried(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="CACHE_PATH"):
        export_cache(load_settings({"MODEL_NAME": "org/model"}), tmp_path / "cache.tar.gz")


@pytest.mark.parametrize("kind", ["missing", "no archive", "cut", "no manifest"])
def test_damaged_archive_is_one_line(
    archive: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged"
    if kind == "no archive":
        path.write_bytes(b"text")
    elif kind == "cut":
        path.write_bytes(archive.read_bytes()[:-40])
    elif kind == "no manifest":
        with tarfile.open(path, "w:gz"):
            pass
    environ = {"MODEL_NAME": "org/model", "CACHE_PATH": str(tmp_path / "other")}

    assert run_cache(import_cache, path, environ) == ExitCode.CONFIGURATION

    error = capsys.readouterr().err
    assert error.startswith(f"worker cache: {path} cannot be read")
    assert error.count("\n") == 1


def test_archive_cannot_write_elsewhere(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "other")
    manifest = orjson.dumps(describe(settings))
    path = tmp_path / "evil"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in ((MANIFEST, manifest), (f"{FILES}/../../../escaped", b"x")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))

    with pytest.raises(ArchiveError, match="cannot be read"):
        import_cache(settings, path)


def test_command_prints_the_result(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    environ = {"MODEL_NAME": "org/model", "CACHE_PATH": str(tmp_path / "other")}

    assert run_cache(cache_archive.import_cache, archive, environ) == ExitCode.OK

    assert "1 files added" in capsys.readouterr().out
