"""One engine's folder: locked as long as its worker lives, removed by the next one after that."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from worker.engine import run_folder
from worker.engine.run_folder import PREFIX, RunFolder, choose_parent

HOLD = """
import subprocess, sys, tempfile
tempfile.tempdir = sys.argv[1]
from worker.engine.run_folder import RunFolder
folder = RunFolder()
(folder.path / "socket").touch()
program = sys.argv[2:]
pid = subprocess.Popen(program, stdout=subprocess.DEVNULL, close_fds=False).pid if program else 0
print(folder.path, pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent(monkeypatch) -> Iterator[Path]:
    """A short temporary folder of the test's own; pytest's are too long for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def folders(parent: Path) -> list[Path]:
    return sorted(parent.glob(f"{PREFIX}*"))


def hold(parent: Path, *program: str) -> tuple[subprocess.Popen, Path, int]:
    """Start another worker; return it, its folder and its program's process id."""
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent), *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    path, pid = other.stdout.readline().split()
    return other, Path(path), int(pid)


def end(other: subprocess.Popen, number: int) -> None:
    other.send_signal(number)
    other.wait()
    other.stdin.close()
    other.stdout.close()


def test_folder_is_private_and_removed_with_its_content(parent):
    folder = RunFolder()
    assert folders(parent) == [folder.path]
    assert folder.path.stat().st_mode & 0o777 == 0o700
    (folder.path / "socket").touch()
    folder.remove()
    folder.remove()
    assert folders(parent) == []


def test_folder_of_a_live_worker_stays(parent):
    first, second = RunFolder(), RunFolder()
    other, path, _pid = hold(parent)
    third = RunFolder()
    assert folders(parent) == sorted([first.path, second.path, path, third.path])
    end(other, signal.SIGKILL)
    for folder in (first, second, third):
        folder.remove()


def test_folder_of_a_killed_worker_is_removed_by_the_next(parent):
    other, path, _pid = hold(parent)
    end(other, signal.SIGKILL)
    assert folders(parent) == [path]
    folder = RunFolder()
    assert folders(parent) == [folder.path]
    folder.remove()


def test_folder_is_kept_by_no_program_that_the_worker_starts(parent):
    """An engine that outlives its worker for a moment must not keep the folder locked."""
    other, path, program = hold(parent, "sleep", "60")
    end(other, signal.SIGKILL)
    assert folders(parent) == [path]
    run_folder.remove_abandoned(parent)
    os.kill(program, signal.SIGKILL)
    assert folders(parent) == []


def test_what_only_has_the_name_of_a_folder_stays(parent):
    target = parent / "target"
    target.mkdir()
    (parent / f"{PREFIX}link").symlink_to(target)
    (parent / f"{PREFIX}file").touch()
    RunFolder().remove()
    assert target.is_dir()
    assert {path.name for path in folders(parent)} == {f"{PREFIX}link", f"{PREFIX}file"}


def test_folder_of_another_user_stays(parent, monkeypatch):
    other = parent / f"{PREFIX}other"
    other.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    run_folder.remove_abandoned(parent)
    assert other.is_dir()


def test_folder_that_another_worker_removes_in_between_is_made_again(parent):
    """Many workers start at once: none loses the folder that it has just made."""
    made = []

    def start() -> None:
        for _ in range(20):
            folder = RunFolder()
            (folder.path / "socket").touch()
            made.append(folder)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 80
    assert all((folder.path / "socket").exists() for folder in made)
    for folder in made:
        folder.remove()


@pytest.mark.parametrize("length", [4, 30, run_folder.MAX_PARENT_CHARS, 200])
def test_folder_takes_the_longest_socket_wherever_the_temporary_folder_is(monkeypatch, length):
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="x") as short:
        parent = Path(short)
        while len(str(parent)) < length:
            parent /= "d" * min(100, max(1, length - len(str(parent)) - 1))
        parent.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(tempfile, "tempdir", str(parent))
        assert (choose_parent() == parent) is (len(str(parent)) <= run_folder.MAX_PARENT_CHARS)
        folder = RunFolder()
        with socket.socket(socket.AF_UNIX) as longest:
            longest.bind(str(folder.path / str(uuid4())))
        folder.remove()
        assert not folder.path.exists()
