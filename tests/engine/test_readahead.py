"""The list of files that a start needs, and the request to read them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from worker.engine import readahead, startup_tasks
from worker.engine.prefetch import Prefetch
from worker.engine.readahead import (
    list_loaded_files,
    note_reads,
    read_list,
    request_files,
    wait_for_files,
)
from worker.engine.startup_tasks import StartupTasks
from worker.engine.startup_timing import StartupTimings


def test_list_has_libraries_before_modules(tmp_path: Path) -> None:
    library = tmp_path / "libfast.so.2"
    library.touch()
    maps = tmp_path / "maps"
    maps.write_text(
        f"7f00-7f01 r-xp 00000000 08:01 42 {library}\n"
        f"7f01-7f02 rw-p 00000000 08:01 42 {library}\n"
        "7f02-7f03 rw-p 00000000 00:00 0 [heap]\n"
        "7f03-7f04 rw-p 00000000 00:00 0\n"
        "7f04-7f05 r-xp 00000000 08:01 43 /gone/libgone.so\n"
    )

    files = list_loaded_files(maps)

    assert files[0] == str(library)
    assert files.count(str(library)) == 1
    assert "/gone/libgone.so" not in files
    assert sys.modules["json"].__cached__ in files


def test_missing_list_is_empty(tmp_path: Path) -> None:
    assert read_list(tmp_path / "none") == []


def test_files_are_requested_and_missing_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"0" * 5000)

    assert request_files([str(tmp_path / "there"), str(tmp_path / "gone")]) == 1


def test_opened_files_and_listed_folders_are_noted(tmp_path: Path) -> None:
    (tmp_path / "METADATA").write_text("Name: worker")
    noted = note_reads()

    (tmp_path / "METADATA").read_text()
    os.listdir(tmp_path)
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "gone").read_text()

    assert {str(tmp_path / "METADATA"), str(tmp_path)} <= set(noted)


def test_source_of_a_module_and_folders_are_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python lists the folders of a package, and compares the time of a source with its bytecode.
    cached = tmp_path / "__pycache__" / f"module.{sys.implementation.cache_tag}.pyc"
    cached.parent.mkdir()
    cached.write_bytes(b"0")
    (tmp_path / "module.py").touch()
    asked = []
    for name in ("stat", "listdir"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, real=real, **options: asked.append(path) or real(path, **options)
        )

    assert request_files([str(cached), str(tmp_path)]) == 2

    assert {str(tmp_path / "module.py"), str(tmp_path)} <= set(asked)


def test_large_file_is_requested_in_steps_that_the_kernel_reads_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One request for a library of 1 GB makes Linux read its first 128 KiB.
    size = 5 * readahead.STEP_BYTES + 1
    (tmp_path / "library").write_bytes(bytes(size))
    asked = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda _fd, start, length, _: asked.append((start, length))
    )

    request_files([str(tmp_path / "library")])

    assert [start for start, _length in asked] == list(range(0, size, 128 * 1024))
    assert {length for _start, length in asked} == {128 * 1024}


def answer_reads(monkeypatch: pytest.MonkeyPatch, answers: list[object]) -> None:
    """Let reads without waiting return or raise `answers`, one after the other."""

    def preadv(*_args: object) -> object:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "preadv", preadv)


def test_wait_ends_when_the_kernel_has_read_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(b"0")
    answers: list[object] = [BlockingIOError(), BlockingIOError(), 1, OSError("not supported")]
    answer_reads(monkeypatch, answers)

    wait_for_files([str(tmp_path / name) for name in ("a", "gone", "b")], threading.Event())

    assert answers == []


async def test_weights_wait_for_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = []
    (tmp_path / "weights").write_bytes(b"0")
    monkeypatch.setattr(startup_tasks, "request_files", lambda _files: order.append("asked") or 1)
    monkeypatch.setattr(
        startup_tasks, "wait_for_files", lambda *_: time.sleep(0.1) or order.append("read")
    )
    prefetch = Prefetch([tmp_path / "weights"], 1)
    monkeypatch.setattr(prefetch, "run", lambda: order.append("weights") or 1)

    tasks = StartupTasks(None, prefetch, StartupTimings(0), ["package"])
    tasks.start()
    await tasks.stop()

    assert order == ["asked", "read", "weights"]


async def test_weights_do_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package").write_bytes(b"0")
    monkeypatch.setattr(startup_tasks, "PACKAGES_WAIT_S", 0.05)
    monkeypatch.setattr(readahead, "is_read", lambda _path: False)
    read = asyncio.Event()
    loop = asyncio.get_running_loop()
    prefetch = Prefetch([], 0)
    monkeypatch.setattr(prefetch, "run", lambda: (loop.call_soon_threadsafe(read.set) and 0) or 0)

    tasks = StartupTasks(None, prefetch, StartupTimings(0), [str(tmp_path / "package")])
    tasks.start()
    await asyncio.wait_for(read.wait(), timeout=30)
    await asyncio.wait_for(tasks.stop(), timeout=30)


async def test_start_requests_the_listed_files(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{__file__}\n")
    timings = StartupTimings(0)
    tasks = StartupTasks(None, None, timings, read_list(tmp_path / "list"))

    tasks.start()
    await tasks.stop()

    assert timings.to_dict()["background"]["packages into memory"]["files"] == 1
