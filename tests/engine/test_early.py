"""The engine's process that starts before its settings are known, with a module in vLLM's place."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker.engine import early as early_module
from worker.engine.early import EarlyProcess, start_early
from worker.engine.environment import with_first_variables
from worker.engine.process import EngineProcess

ROOT = Path(__file__).parents[2]
MODULE = """
import json, os, sys, tempfile, torch
_, parent, report, *arguments = sys.argv
found = {
    "name": __name__, "arguments": arguments, "parent": int(parent) == os.getppid(),
    "environment": dict(os.environ), "folder": tempfile.gettempdir(),
    "torch": torch.FOUND, "stdin": sys.stdin.read(),
}
os.write(int(report), json.dumps(found).encode() + b"\\n")
print("printed", flush=True)
sys.exit(7)
"""

Start = Callable[..., EarlyProcess]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with a module to run, and a PyTorch that notes its environment."""
    (tmp_path / "program.py").write_text(MODULE)
    (tmp_path / "torch.py").write_text("import os\nFOUND = dict(os.environ)\n")
    return {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}:{ROOT}"}


@pytest.fixture
def start(environ: dict[str, str]) -> Iterator[Start]:
    started: list[EarlyProcess] = []

    def start_one(**variables: str) -> EarlyProcess:
        started.append(EarlyProcess({**environ, **variables}, "program"))
        return started[-1]

    yield start_one
    for process in started:
        process.close()
        process.folder.remove()


def final_environment(environ: dict[str, str], **variables: str) -> dict[str, str]:
    return {**with_first_variables(environ), **variables}


async def run(process: EarlyProcess, environment: dict[str, str]) -> tuple[dict[str, object], int]:
    process.hand_over(environment, ["--model", "m"])
    status = await asyncio.wait_for(process.wait(), 20)
    with os.fdopen(process.reports) as reports, os.fdopen(process.output) as output:
        assert output.read() == "printed\n"
        return json.loads(reports.read()), status


async def test_process_becomes_the_program_with_its_arguments(
    start: Start, environ: dict[str, str]
) -> None:
    process = start()

    found, status = await run(process, final_environment(environ))

    assert status == 7
    assert found["name"] == "__main__"
    assert found["parent"] is True
    assert found["stdin"] == ""
    assert found["arguments"] == ["--model", "m", *process.folder.arguments]


async def test_program_has_exactly_the_environment_that_is_handed_over(
    start: Start, environ: dict[str, str], tmp_path: Path
) -> None:
    process = start(VLLM_API_KEY="secret", HF_HOME="/early")
    environment = final_environment(environ, HF_HOME="/late", TMPDIR=str(tmp_path))
    assert process.accepts(environment)

    found, _status = await run(process, environment)

    assert found["environment"] == environment
    assert found["folder"] == str(tmp_path)
    early = found["torch"]
    assert isinstance(early, dict)
    assert early["HF_HOME"] == "/early"


@pytest.mark.parametrize(
    ("early", "final", "accepted"),
    [
        ({}, {"HF_TOKEN": "hf_x", "VLLM_CACHE_ROOT": "/c", "TRITON_CACHE_DIR": "/t"}, True),
        ({}, {"CUDA_VISIBLE_DEVICES": "1"}, False),
        ({"OMP_NUM_THREADS": "2"}, {"OMP_NUM_THREADS": "3"}, False),
        ({"LD_PRELOAD": ""}, {}, False),
    ],
)
def test_variables_that_the_imports_have_read_cannot_change(
    start: Start,
    environ: dict[str, str],
    early: dict[str, str],
    final: dict[str, str],
    accepted: bool,
) -> None:
    process = start(**early)
    common = {} if "LD_PRELOAD" in early else early

    assert process.accepts(final_environment({**environ, **common}, **final)) is accepted


def test_process_without_work_ends(start: Start) -> None:
    process = start()

    process.close()
    process.close()

    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def test_engine_starts_anew_with_an_environment_that_comes_too_late(
    start: Start, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    process = start()
    monkeypatch.setattr(EngineProcess, "command", ("/bin/echo", "new"))
    engine = EngineProcess(
        ["--model", "m"],
        final_environment(environ, CUDA_VISIBLE_DEVICES="1"),
        on_phase=lambda _name, _seconds: None,
        on_output=lines.append,
        early=process,
    )

    with pytest.raises(Exception, match="ended"):
        await engine.start(20)

    assert lines == [
        " ".join(["new", str(os.getpid()), lines[0].split()[2], "--model", "m"])
        + " "
        + " ".join(process.folder.arguments)
    ]
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_nothing_is_started_without_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(early_module, "find_package", lambda name: None)

    assert start_early({}) is None


def test_nothing_is_started_on_a_kernel_that_cannot_tell_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_pid: int) -> int:
        raise OSError

    monkeypatch.setattr(early_module, "find_package", lambda name: Path("/"))
    monkeypatch.setattr(os, "pidfd_open", refuse)

    assert start_early({}) is None
