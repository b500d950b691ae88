import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.engine.parent_death import group_is_alive

FORKED = """
import os, time
from worker.engine.parent_death import set_pdeathsig_on_fork
set_pdeathsig_on_fork()
if os.fork() == 0:
    os.fork()
os.write(1, b"%d\\n" % os.getpid())
time.sleep(60)
"""
"""A process, its child and its grandchild."""

SPAWNED = """
import multiprocessing, os, time
from worker.engine.parent_death import die_with_parent, set_pdeathsig_on_fork

if __name__ == "__mp_main__":
    die_with_parent()

def live():
    set_pdeathsig_on_fork()
    os.fork()
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=live).start()
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)
"""
"""The same where the child is spawned, as vLLM does with a GPU."""


@pytest.fixture
def start(tmp_path) -> Iterator:
    """Start a Python program in a process group of its own; afterwards the group is ended."""
    started: list[subprocess.Popen[str]] = []

    def start_one(code: str) -> subprocess.Popen[str]:
        path = tmp_path / f"program{len(started)}.py"
        path.write_text(code)
        process = subprocess.Popen(
            [sys.executable, str(path)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        if group_is_alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def lives(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            not in "ZX"
        )
    except OSError:
        return False


def wait_until(condition, limit_s: float = 15.0) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("code", [FORKED, SPAWNED], ids=["forked", "spawned"])
def test_descendants_die_with_a_killed_process(start, code):
    process = start(code)
    pids = [int(process.stdout.readline()) for _ in range(3)]
    assert process.pid in pids
    assert all(map(lives, pids))
    process.kill()
    assert wait_until(lambda: not any(map(lives, pids)))


def test_signal_to_a_forked_child_does_not_wake_the_parents_loop(start):
    process = start(
        """
import asyncio, os, signal, time
from worker.engine.parent_death import set_pdeathsig_on_fork

async def main():
    woken = []
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, woken.append, 1)
    set_pdeathsig_on_fork()
    ready, began = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(began, b"x")
        time.sleep(60)
    os.read(ready, 1)
    os.kill(child, signal.SIGTERM)
    _pid, status = await asyncio.to_thread(os.waitpid, child, 0)
    await asyncio.sleep(0.1)
    print(os.waitstatus_to_exitcode(status), woken, flush=True)

asyncio.run(main())
"""
    )
    assert process.stdout.read() == "-15 []\n"


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        pytest.param("close_sockets=True", "closed", id="closed"),
        pytest.param("", "open", id="kept"),
    ],
)
def test_forked_child_gives_up_sockets_if_asked_to(start, options, seen):
    process = start(
        f"""
import multiprocessing, os, socket, time
from worker.engine.parent_death import set_pdeathsig_on_fork
set_pdeathsig_on_fork({options})
ours, theirs = socket.socketpair()
pipe, began = os.pipe()

def live():
    theirs.close() if theirs.fileno() in map(int, os.listdir("/proc/self/fd")) else None
    os.write(began, b"x")
    time.sleep(60)

multiprocessing.get_context("fork").Process(target=live, daemon=True).start()
os.read(pipe, 1)
ours.close()
theirs.settimeout(0.2)
try:
    print("closed" if theirs.recv(1) == b"" else "?", flush=True)
except TimeoutError:
    print("open", flush=True)
"""
    )
    assert process.stdout.readline() == f"{seen}\n"


def test_program_started_under_uvloop_keeps_its_output(start):
    process = start(
        """
import asyncio, uvloop
from worker.engine.parent_death import set_pdeathsig_on_fork

async def main():
    set_pdeathsig_on_fork(close_sockets=True)
    streams = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    program = await asyncio.create_subprocess_exec("echo", "GPU 0", **streams)
    print((await program.communicate())[0].decode(), end="", flush=True)

uvloop.run(main())
"""
    )
    assert process.stdout.read() == "GPU 0\n"


@pytest.mark.parametrize(
    ("call", "status"),
    [
        pytest.param("die_with_parent(1)", -signal.SIGKILL, id="parent-gone"),
        pytest.param("die_with_parent(1, 15)", -signal.SIGTERM, id="parent-gone-other-signal"),
        pytest.param("die_with_parent(os.getppid())", 0, id="parent-there"),
        pytest.param("die_with_parent()", 0, id="any-parent"),
    ],
)
def test_die_with_parent_ends_at_once_if_the_parent_is_gone_already(start, call, status):
    process = start(f"import os\nfrom worker.engine.parent_death import die_with_parent\n{call}")
    assert process.wait(10) == status


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("b'plain'", id="plain"),
        pytest.param("b'a) Z 1 1'", id="brackets-and-spaces"),
        pytest.param("b'\\xff\\xfe'", id="not-utf-8"),
    ],
)
def test_group_is_alive_until_its_last_process_has_ended(start, name):
    process = start(
        f"""
import os, pathlib, time
pathlib.Path('/proc/self/comm').write_bytes({name})
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""
    )
    child = int(process.stdout.readline())
    assert group_is_alive(process.pid)
    process.kill()
    assert wait_until(lambda: not lives(process.pid))
    assert group_is_alive(process.pid)
    os.kill(child, signal.SIGKILL)
    # The first process has not been waited for: it is a zombie now, and does not count.
    assert wait_until(lambda: not group_is_alive(process.pid))
    assert process.returncode is None


def test_group_is_alive_of_an_unknown_group_is_false():
    assert not group_is_alive(2**22 + 1)
