import asyncio
import os
import sys

import pytest

from worker_tools.dev.process import WorkerProcess, decode_line

PRINTS = "import sys; print('out'); print('err', file=sys.stderr); sys.stdout.write('tail')"
SPAWNS = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print(child.pid, flush=True);"
)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def wait_gone(pid: int) -> bool:
    for _ in range(100):
        if not is_running(pid):
            return True
        await asyncio.sleep(0.02)
    return False


class Lines(list):
    """Collects output and lets a test wait for the first line."""

    def __init__(self):
        super().__init__()
        self.first = asyncio.Event()

    def add(self, worker_id, line):
        self.append((worker_id, line))
        self.first.set()


async def start(code: str, lines: Lines) -> WorkerProcess:
    process = WorkerProcess("w1", lines.add)
    await process.start([sys.executable, "-c", code], {"PYTHONUNBUFFERED": "1"})
    return process


async def test_output_of_both_streams_is_forwarded_by_line():
    lines = Lines()
    process = await start(PRINTS, lines)
    assert await process.wait() == 0
    assert sorted(lines) == [("w1", "err"), ("w1", "out"), ("w1", "tail")]


async def test_environment_is_exactly_what_was_given():
    lines = Lines()
    process = WorkerProcess("w1", lines.add)
    code = "import os; print(os.environ.get('A'), os.environ.get('HOME'))"
    await process.start([sys.executable, "-c", code], {"A": "1"})
    await process.wait()
    assert lines == [("w1", "1 None")]


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -9)],
    ids=["exit", "signal"],
)
async def test_wait_returns_exit_status(code, status):
    process = await start(code, Lines())
    assert await process.wait() == status
    assert process.returncode == status


async def test_terminate_lets_the_process_finish():
    code = (
        "import signal, sys, time;"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(5));"
        "print('up'); time.sleep(60)"
    )
    lines = Lines()
    process = await start(code, lines)
    await lines.first.wait()
    process.terminate()
    assert await process.wait() == 5


async def test_kill_ends_everything_that_the_process_started():
    lines = Lines()
    process = await start(SPAWNS + "time.sleep(60)", lines)
    await lines.first.wait()
    process.kill()
    assert await process.wait() == -9
    assert await wait_gone(int(lines[0][1]))


async def test_child_left_behind_is_killed_when_the_process_ends():
    lines = Lines()
    process = await start(SPAWNS, lines)
    assert await process.wait() == 0
    assert await wait_gone(int(lines[0][1]))


async def test_terminate_and_kill_after_the_end_do_nothing():
    process = await start("", Lines())
    await process.wait()
    process.terminate()
    process.kill()
    assert process.returncode == 0


async def test_process_dies_with_its_parent():
    code = (
        "import asyncio, sys\n"
        "from worker_tools.dev.process import WorkerProcess\n"
        "async def main():\n"
        "    process = WorkerProcess('w1', None)\n"
        "    await process.start([sys.executable, '-c', 'import time; time.sleep(60)'], {})\n"
        "    print(process.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    await parent.communicate()
    assert await wait_gone(pid)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"plain", "plain"),
        (b"windows\r", "windows"),
        (b"10%\r50%\r100%", "100%"),
        (b"10%\r100%\r", "100%"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_decode_line_shows_the_last_state(line, text):
    assert decode_line(line) == text
