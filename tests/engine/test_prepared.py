"""A process that is forked early and takes the place of the one that `multiprocessing` starts."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any

import psutil
import pytest

from worker.engine.prepared import PreparedProcess

WAIT_S = 30


def prepare() -> None:
    importlib.import_module("colorsys")
    os.environ["PREPARED"] = "yes"


def prepare_here() -> None:
    os.environ["PREPARED_HERE"] = f"{os.environ.get('PREPARED_HERE', '')}x"


def report(folder: Path) -> None:
    lines = [
        os.getpid(),
        "colorsys" in sys.modules,
        os.environ.get("PREPARED"),
        os.environ.get("LATE"),
        os.environ.get("PREPARED_HERE"),
        multiprocessing.current_process().name,
    ]
    (folder / "report").write_text("\n".join(map(str, lines)))


def fail() -> None:
    raise SystemExit(3)


def wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join(WAIT_S)


@pytest.fixture
def prepared() -> Iterator[PreparedProcess]:
    process = PreparedProcess(prepare, "Engine", prepare_here)
    yield process
    os.environ.pop("PREPARED_HERE", None)
    process.close()


def start(prepared: PreparedProcess, method: str = "fork", **options: Any) -> Any:
    extended = prepared.extend(lambda: multiprocessing.get_context(method))()
    process = extended.Process(**{"name": "Engine", **options})
    process.start()
    return process


def read(folder: Path) -> list[str]:
    return (folder / "report").read_text().split("\n")


def test_first_process_of_the_name_is_the_prepared_one(
    prepared: PreparedProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early = prepared.pid
    monkeypatch.setenv("LATE", "set after the fork")

    process = start(prepared, target=report, args=(tmp_path,))
    process.join(WAIT_S)

    assert process.exitcode == 0
    assert read(tmp_path) == [str(early), "True", "None", "set after the fork", "None", "Engine"]


def test_second_process_of_the_name_is_forked(prepared: PreparedProcess, tmp_path: Path) -> None:
    first = start(prepared, target=report, args=(tmp_path,))
    first.join(WAIT_S)

    second = start(prepared, target=report, args=(tmp_path,))
    second.join(WAIT_S)

    assert second.exitcode == 0
    assert read(tmp_path)[0] == str(second.pid) != str(first.pid)
    assert read(tmp_path)[4] == "x"


def test_process_of_another_name_is_forked(prepared: PreparedProcess, tmp_path: Path) -> None:
    process = start(prepared, name="Coordinator", target=report, args=(tmp_path,))
    process.join(WAIT_S)

    assert read(tmp_path)[0] == str(process.pid) != str(prepared.pid)
    assert read(tmp_path)[4] == "x", "what is forked late is prepared before"


@pytest.mark.parametrize("kind", ["lock", "closure"])
def test_work_that_only_a_fork_inherits_is_forked(
    prepared: PreparedProcess, tmp_path: Path, kind: str
) -> None:
    early = prepared.pid
    lock = multiprocessing.get_context("fork").Lock()

    def closure(*_given: object) -> None:
        report(tmp_path)

    if kind == "lock":
        process = start(prepared, target=print, args=(lock,))
    else:
        process = start(prepared, target=closure)
    process.join(WAIT_S)

    assert process.exitcode == 0
    assert process.pid != early
    assert not psutil.pid_exists(early)


def test_prepared_process_ends_where_vllm_spawns(prepared: PreparedProcess) -> None:
    early = prepared.pid

    assert prepared.extend(lambda: multiprocessing.get_context("spawn"))() is (
        multiprocessing.get_context("spawn")
    )

    assert not psutil.pid_exists(early)


def test_exit_code_of_the_work_is_the_processes(prepared: PreparedProcess) -> None:
    process = start(prepared, target=fail)

    assert connection.wait([process.sentinel], WAIT_S) == [process.sentinel]
    process.join(WAIT_S)
    assert process.exitcode == 3


def test_prepared_process_can_be_terminated(prepared: PreparedProcess) -> None:
    process = start(prepared, target=time.sleep, args=(WAIT_S,))
    assert process.is_alive()

    process.terminate()
    process.join(WAIT_S)

    assert process.exitcode == -signal.SIGTERM


def test_failed_preparation_leaves_the_work_to_be_done(tmp_path: Path) -> None:
    def broken() -> None:
        raise ImportError("no such module")

    process = start(PreparedProcess(broken, "Engine"), target=report, args=(tmp_path,))
    process.join(WAIT_S)

    assert process.exitcode == 0


def test_process_without_work_ends_with_its_parent(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        unused = PreparedProcess(prepare, "Engine")
        (tmp_path / "pid").write_text(str(unused.pid))
        os._exit(0)
    os.waitpid(pid, 0)
    child = int((tmp_path / "pid").read_text())

    assert ends(child)


def test_work_sees_the_end_of_its_parent(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        process = start(PreparedProcess(prepare, "Engine"), target=wait_for_parent)
        (tmp_path / "pid").write_text(str(process.pid))
        os._exit(0)
    os.waitpid(pid, 0)
    child = int((tmp_path / "pid").read_text())

    assert ends(child)


def ends(pid: int) -> bool:
    """Whether a process ends within `WAIT_S`."""
    deadline = time.monotonic() + WAIT_S
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
