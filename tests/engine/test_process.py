import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from worker.engine import process as process_module
from worker.engine.parent_death import group_is_alive
from worker.engine.process import DEFAULT_LIMITS, EngineProcess, EngineStartError
from worker.engine.watchdog import WatchdogLimits
from worker.errors import ExitCode

FAKE = Path(__file__).parents[1] / "fakes/engine_process.py"


class FakeEngine(EngineProcess):
    """An engine whose program follows its instructions, and that records its reports."""

    command = (sys.executable, str(FAKE))

    def __init__(
        self,
        do: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        limits: WatchdogLimits = DEFAULT_LIMITS,
    ):
        self.phases: list[str] = []
        self.seconds: list[float] = []
        self.output: list[str] = []
        super().__init__(
            ["--do", do, *arguments],
            {"PYTHONUNBUFFERED": "1", **(environment or {})},
            on_phase=self._keep_phase,
            on_output=self.output.append,
            limits=limits,
        )

    def _keep_phase(self, name: str, seconds: float) -> None:
        self.phases.append(name)
        self.seconds.append(seconds)


Build = Callable[..., FakeEngine]


@pytest.fixture
def parent(monkeypatch) -> Iterator[Path]:
    """A temporary folder of the test's own, with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
async def build(parent, monkeypatch) -> AsyncIterator[Build]:
    """Build engines; afterwards nothing of them may be left."""
    monkeypatch.setattr(process_module, "WATCH_INTERVAL_S", 0.02)
    monkeypatch.setattr(process_module, "TRACKER_WAIT_S", 0.3)
    engines: list[FakeEngine] = []

    def build_one(*arguments, **options) -> FakeEngine:
        engines.append(FakeEngine(*arguments, **options))
        return engines[-1]

    yield build_one
    for engine in engines:
        await engine.stop(grace_s=0)
        assert engine.pid is None or not group_is_alive(engine.pid)
    assert list(parent.glob("worker-engine-*")) == []


async def fail_to_start(engine: FakeEngine, timeout_s: float = 20) -> str:
    with pytest.raises(EngineStartError) as caught:
        await engine.start(timeout_s)
    assert caught.value.exit_code == ExitCode.ENGINE_START
    return str(caught.value)


async def test_start_reports_phases_in_order_and_returns_when_healthy(build):
    engine = build("for name in ('import', 'configure', 'load'): report(phase=name)\nserve(200)")
    await engine.start(20)
    assert engine.phases == ["import", "configure", "load", "ready"]
    assert engine.seconds == sorted(engine.seconds)
    assert engine.seconds[-1] > 0


async def test_start_waits_while_the_server_is_not_healthy(build):
    engine = build("serve(503, 503, 200, 503)")
    await engine.start(20)
    assert engine.phases == ["ready"]


async def test_start_passes_arguments_and_environment_but_no_secret_in_argv(build):
    engine = build(
        "import pathlib\n"
        "print(pathlib.Path('/proc/self/cmdline').read_text().split(chr(0)))\n"
        "print('HF_TOKEN' in os.environ, 'HOME' in os.environ, int(parent) == os.getppid())\n"
        "serve(200)",
        "--model",
        "org/name",
        environment={"HF_TOKEN": "hf_verysecret"},
    )
    await engine.start(20)
    await engine.stop(grace_s=0)
    argv, facts = engine.output
    assert "'--model', 'org/name', '--uds', '" in argv
    assert "hf_verysecret" not in argv
    assert facts == "True False True"


async def test_start_in_too_little_time_ends_the_engine_and_says_so(build):
    engine = build("signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)")
    message = await fail_to_start(engine, timeout_s=0.3)
    assert "not ready after 0 s" in message
    assert "start time-out" in message


@pytest.mark.parametrize(
    ("do", "words"),
    [
        pytest.param(
            "print('Traceback …'); print('OSError: [Errno 28] No space left on device')\nexit(1)",
            "The disk is full",
            id="reason-in-output",
        ),
        pytest.param(
            "report(error='ValueError', message='bad thing\\nmore')\nexit(1)",
            "ValueError: bad thing",
            id="reason-in-report",
        ),
        pytest.param("exit(7)", "status 7", id="no-reason"),
        pytest.param("os.kill(os.getpid(), 11)", "SIGSEGV", id="killed"),
        pytest.param(
            "report(error='RuntimeError', message='Engine core initialization failed. See …')\n"
            "print('(EngineCore pid=7) ValueError: the cause'); exit(1)",
            "ValueError: the cause",
            id="retold",
        ),
    ],
)
async def test_start_of_an_engine_that_dies_raises_with_the_reason(build, do, words):
    engine = build(f"report(phase='import')\n{do}")
    assert words in await fail_to_start(engine)
    assert engine.phases == ["import"]


async def test_start_of_an_engine_that_dies_ends_what_it_has_started(build):
    engine = build("fork_sleeper()\nexit(3)")
    assert "status 3" in await fail_to_start(engine)
    assert not group_is_alive(engine.pid)


async def test_start_cancelled_leaves_nothing_behind(build):
    engine = build("fork_sleeper()\ntime.sleep(60)")
    start = asyncio.create_task(engine.start(60))
    while not engine.pid:
        await asyncio.sleep(0.01)
    start.cancel()
    await asyncio.wait({start})
    await engine.stop(grace_s=0)
    assert not group_is_alive(engine.pid)


async def test_start_of_a_program_that_is_absent_raises_and_leaves_nothing_behind(build):
    engine = build("")
    engine.command = ("/nonexistent/program",)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        await engine.start(5)
    await engine.stop(grace_s=0)
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize(
    ("number", "words"),
    [
        pytest.param(signal.SIGKILL, "vLLM ended with SIGKILL", id="killed"),
        pytest.param(signal.SIGTERM, "vLLM ended with SIGTERM", id="terminated"),
    ],
)
async def test_wait_failed_notices_death(build, number, words):
    engine = build("serve(200)")
    await engine.start(20)
    failed = asyncio.create_task(engine.wait_failed())
    await asyncio.sleep(0.1)
    assert not failed.done()
    os.kill(engine.pid, number)
    assert await asyncio.wait_for(failed, 15) == words


async def test_wait_failed_notices_a_server_whose_engine_died(build):
    engine = build("serve(200, 200, 200, 503)")
    await engine.start(20)
    assert await asyncio.wait_for(engine.wait_failed(), 15) == "vLLM's engine process died"


async def test_wait_failed_notices_a_server_that_does_not_answer(build):
    engine = build("import threading\nserve(200)", limits=WatchdogLimits(silence_s=0.2))
    await engine.start(20)
    # The socket is gone, the process stays: nobody can reach it any more.
    for socket_path in Path(tempfile.gettempdir()).glob("worker-engine-*/vllm.sock"):
        socket_path.unlink()
    assert "has not answered for" in await asyncio.wait_for(engine.wait_failed(), 15)


async def test_wait_failed_notices_one_api_server_that_hangs_while_another_answers(build):
    engine = build(
        "import pathlib\n"
        "pathlib.Path(os.environ['WORKER_HEARTBEATS'], 'api-server-7').touch()\n"
        "serve(200)",
        limits=WatchdogLimits(silence_s=0.2),
    )
    await engine.start(20)
    problem = await asyncio.wait_for(engine.wait_failed(), 15)
    assert "API server with process id 7 has not responded" in problem


async def test_stop_lets_the_engine_end_in_order(build):
    engine = build(
        "def end(*_):\n    print('ended in order')\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\nserve(200)"
    )
    await engine.start(20)
    await engine.stop(grace_s=10)
    assert engine.output == ["ended in order"]
    assert not group_is_alive(engine.pid)


async def test_stop_kills_an_engine_that_ignores_sigterm_after_the_grace(build):
    engine = build("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nfork_sleeper()\nserve(200)")
    await engine.start(20)
    began = asyncio.get_running_loop().time()
    await engine.stop(grace_s=0.2)
    assert 0.2 <= asyncio.get_running_loop().time() - began < 10
    assert not group_is_alive(engine.pid)


async def test_stop_twice_and_at_the_same_time_is_safe(build):
    engine = build("fork_sleeper()\nserve(200)")
    await engine.start(20)
    await asyncio.gather(engine.stop(grace_s=0), engine.stop(grace_s=0))
    await engine.stop(grace_s=1)
    assert not group_is_alive(engine.pid)


async def test_stop_before_start_removes_the_directory(build, parent):
    engine = build("")
    assert len(list(parent.glob("worker-engine-*"))) == 1
    await engine.stop(grace_s=1)
    assert list(parent.glob("worker-engine-*")) == []


async def test_client_before_start_is_refused(build):
    with pytest.raises(RuntimeError, match="not started"):
        _ = build("").client


@pytest.mark.parametrize(
    ("do", "lines"),
    [
        pytest.param("print('a'); print('b')", ["a", "b"], id="lines"),
        pytest.param("print('a', end='')", ["a"], id="last-line-without-end"),
        pytest.param("sys.stderr.write('a\\r\\n')", ["a"], id="carriage-return-and-stderr"),
        pytest.param("sys.stdout.buffer.write(b'\\xff\\n')", ["\ufffd"], id="not-utf-8"),
        pytest.param("print()", [""], id="empty-line"),
    ],
)
async def test_output_arrives_line_by_line(build, do, lines):
    engine = build(f"{do}\nsys.stdout.flush()\nexit(1)")
    await fail_to_start(engine)
    assert engine.output == lines


@pytest.mark.parametrize("end", ["\\n", ""], ids=["long-line", "no-line-end-at-all"])
async def test_very_long_line_of_output_arrives_in_chunks_without_loss(build, end):
    engine = build(f"sys.stdout.write('x' * 1_000_000 + '{end}')\nsys.stdout.flush()\nexit(1)")
    await fail_to_start(engine)
    assert "".join(engine.output) == "x" * 1_000_000
    assert max(map(len, engine.output)) <= 2 * process_module.LINE_LIMIT_BYTES


async def test_failure_report_longer_than_a_line_has_the_reason(build):
    engine = build("report(error='ValueError', message='cause ' + 'x' * 300_000)\nexit(1)")
    assert "ValueError: cause x" in await fail_to_start(engine)


async def test_vllm_has_its_sockets_in_the_folder_of_the_engine(build, parent):
    engine = build(
        "print(os.environ['VLLM_RPC_BASE_PATH'], os.environ['TMPDIR'], argument('--uds'))\n"
        "serve(200)",
        environment={"TMPDIR": str(parent)},
    )
    await engine.start(20)
    folder = next(parent.glob("worker-engine-*"))
    assert engine.output == [f"{folder} {folder} {folder}/vllm.sock"]


async def test_folder_that_the_user_chose_for_the_sockets_stays(build):
    engine = build(
        "print(os.environ['VLLM_RPC_BASE_PATH'])\nserve(200)",
        environment={"VLLM_RPC_BASE_PATH": "/mine"},
    )
    await engine.start(20)
    assert engine.output == ["/mine"]
