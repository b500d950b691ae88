"""The list of files that a start needs, and the request to read them."""

from __future__ import annotations

import sys
from pathlib import Path

from worker.engine.readahead import list_loaded_files, read_list, request_files
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


async def test_start_requests_the_listed_files(tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{__file__}\n")
    timings = StartupTimings(0)
    tasks = StartupTasks(None, None, timings, read_list(tmp_path / "list"))

    tasks.start()
    await tasks.stop()

    assert timings.to_dict()["background"]["packages into memory"]["files"] == 1
