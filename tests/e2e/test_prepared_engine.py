"""vLLM's engine in a process that was forked before the configuration was built."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from worker.engine.environment import build_environment
from worker.engine.process import EngineProcess
from worker.settings import load_settings

TIMEOUT_S = 240


@pytest.mark.parametrize("servers", [1, 2])
async def test_engine_is_the_process_that_was_prepared(tiny_model: Path, servers: int) -> None:
    environ = {"MODEL_NAME": str(tiny_model), "LOAD_FORMAT": "dummy", "MAX_MODEL_LEN": "512"}
    count = {"API_SERVER_COUNT": str(servers)} if servers > 1 else {}
    settings = load_settings({**environ, **count})
    phases: dict[str, float] = {}

    def record(name: str, seconds: float) -> None:
        phases.setdefault(name, seconds)

    output: list[str] = []
    engine = EngineProcess(
        settings.engine_arguments(),
        build_environment(os.environ, settings.engine_environment()),
        on_phase=record,
        on_output=output.append,
    )
    try:
        await engine.start(TIMEOUT_S)
        await engine.test(settings.model.served_name, TIMEOUT_S)
        # Before the end, at which vLLM's servers may log that the engine is gone.
        tracebacks = [line for line in output if "Traceback" in line]
        assert engine.pid is not None
        server = psutil.Process(engine.pid)
        born = {
            child.name(): child.create_time() - server.create_time()
            for child in server.children()
            if "VLLM::EngineCore" in " ".join(child.cmdline())
        }
    finally:
        await engine.stop(grace_s=10)

    assert len(born) == 1
    assert next(iter(born.values())) < phases["load"]
    assert tracebacks == []
    assert not psutil.pid_exists(engine.pid)
