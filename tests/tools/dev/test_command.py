"""The command itself, in a process of its own, with the stock worker under it."""

import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from worker.errors import ExitCode
from worker_tools.dev.command import USAGE, format_line

HERE = Path(__file__).parent
ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
SCRIPT = """
import os, sys
from worker_tools.dev import LocalDeployment, command
LocalDeployment.command = (sys.executable, *{arguments!r})
raise SystemExit(command.run_dev(dict(os.environ), {port}, 1, 0))
"""
STOCK = (str(HERE / "stock_worker.py"),)
STUBBORN = (
    "-c",
    "import os, signal, time, urllib.request\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "url = os.environ['RUNPOD_WEBHOOK_GET_JOB'].replace('$ID', os.environ['RUNPOD_POD_ID'])\n"
    "print(f'pid {os.getpid()}', flush=True)\n"
    "urllib.request.urlopen(url).read()\n"
    "time.sleep(60)\n",
)


class Command:
    """A running `worker dev` whose output can be waited for."""

    def __init__(self, process):
        self.process = process
        self.text = ""

    async def read_until(self, words):
        async with asyncio.timeout(10):
            while words not in self.text:
                line = await self.process.stdout.readline()
                assert line, f"ended before {words!r}:\n{self.text}"
                self.text += line.decode()

    async def end(self):
        async with asyncio.timeout(10):
            self.text += (await self.process.stdout.read()).decode()
            return await self.process.wait()


@pytest.fixture
async def launch():
    commands = []

    async def start(arguments=STOCK, port=0):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SCRIPT.format(arguments=arguments, port=port),
            env=ENVIRON,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        commands.append(Command(process))
        return commands[-1]

    yield start
    for command in commands:
        if command.process.returncode is None:
            command.process.kill()
        await command.process.communicate()


async def test_run_dev_prints_usage_with_the_model_and_ctrl_c_ends_it_with_0(launch):
    command = await launch()
    await command.read_until("Ctrl-C stops")
    base = re.search(r"http://127\.0\.0\.1:\d+/v2/local", command.text)
    assert base is not None
    assert f"curl {base[0]}/openai/v1/chat/completions" in command.text
    assert f'OpenAI(base_url="{base[0]}/openai/v1"' in command.text
    assert command.text.count("tiny") == 3
    assert "worker-1 | --- Starting Serverless Worker" in command.text
    command.process.send_signal(signal.SIGINT)
    assert await command.end() == 0
    assert "worker dev | stopping" in command.text
    assert "Traceback" not in command.text


async def test_run_dev_second_ctrl_c_kills_a_worker_that_does_not_end(launch):
    command = await launch(STUBBORN)
    await command.read_until("pid ")
    command.process.send_signal(signal.SIGINT)
    await command.read_until("stopping")
    await asyncio.sleep(0.1)
    assert command.process.returncode is None
    command.process.send_signal(signal.SIGINT)
    assert await command.end() == 0
    pid = int(re.search(r"pid (\d+)", command.text)[1])
    assert not Path(f"/proc/{pid}").exists()


async def test_run_dev_worker_that_fails_gives_its_status(launch):
    command = await launch((*STOCK, "--exit"))
    assert await command.end() == 3
    assert "worker-1 | the model cannot be loaded" in command.text
    assert "worker dev | worker worker-1 exited 3" in command.text
    assert "Traceback" not in command.text


async def test_run_dev_worker_killed_while_serving_gives_its_status(launch):
    code = STUBBORN[1].replace("time.sleep(60)", "os.kill(os.getpid(), 9)")
    command = await launch(("-c", code))
    assert await command.end() == 137
    assert "Traceback" not in command.text


async def test_run_dev_port_in_use_says_so(launch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        command = await launch(port=port)
        assert await command.end() == ExitCode.UNAVAILABLE
    assert f"port {port} on 127.0.0.1 is in use" in command.text
    assert "--port" in command.text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param(
            '{"requestId": null, "message": "hi", "level": "INFO"}', "INFO  hi", id="no-job"
        ),
        pytest.param(
            '{"requestId": "j1", "message": "hi", "level": "ERROR"}', "ERROR hi [j1]", id="job"
        ),
        pytest.param('{"message": "hi"}', '{"message": "hi"}', id="other-json"),
        pytest.param("{broken", "{broken", id="not-json"),
    ],
)
def test_format_line_turns_the_sdks_json_into_text(line, text):
    assert format_line(line) == text


def test_usage_python_lines_compile():
    text = USAGE.format(workers="1 worker", page="p", url="u", openai_url="o", model="m")
    python = text[text.index("from openai") : text.index("Ctrl-C")]
    assert compile(python, "usage", "exec").co_names[:2] == ("openai", "OpenAI")
