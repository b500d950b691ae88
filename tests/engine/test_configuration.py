"""`worker check --engine`: what a child process reports becomes one result or one error."""

import os
import sys

import pytest

from worker.engine import configuration
from worker.engine.configuration import build_configuration
from worker.engine.process import EngineStartError
from worker.errors import ExitCode, UnavailableError

ENVIRON = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
HEAD = (
    "import json, os, sys\n"
    "parent, descriptor, *arguments = sys.argv[1:]\n"
    "def report(**message): os.write(int(descriptor), json.dumps(message).encode() + b'\\n')\n"
)


def build(program: str, *arguments: str, timeout_s: float = 20) -> float:
    command = (sys.executable, "-c", HEAD + program)
    return build_configuration(arguments, ENVIRON, timeout_s, command)


def test_build_configuration_passes_the_arguments_and_measures_the_time():
    assert build("assert arguments == ['--model', 'org/name']", "--model", "org/name") > 0


@pytest.mark.parametrize(
    ("program", "fragment"),
    [
        ("report(error='ValueError', message='no such thing'); sys.exit(1)", "ValueError: no such"),
        ("print('vllm serve: error: argument --x: wrong'); sys.exit(2)", "argument --x: wrong"),
        (
            "report(error='RuntimeError', message='Failed to infer device type'); sys.exit(1)",
            "vLLM finds no GPU that it is built for",
        ),
        ("os.kill(os.getpid(), 9)", "SIGKILL"),
    ],
)
def test_build_configuration_that_fails_says_why(program, fragment):
    with pytest.raises(EngineStartError) as caught:
        build(program)
    assert fragment in str(caught.value)
    assert caught.value.exit_code == ExitCode.ENGINE_START


def test_build_configuration_ends_a_process_that_takes_too_long():
    with pytest.raises(EngineStartError) as caught:
        build("import time; time.sleep(60)", timeout_s=0.5)
    assert "START_TIMEOUT_S" in str(caught.value)


def test_build_configuration_without_vllm_says_where_it_is(monkeypatch):
    monkeypatch.setattr(configuration, "find_package", lambda _name: None)
    with pytest.raises(UnavailableError) as caught:
        build("")
    assert "runpod-vllm-worker[cpu]" in str(caught.value)
