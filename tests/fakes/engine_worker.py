"""The production worker with a program in vLLM's place; FAKE_ENGINE_DO says what that one does."""

import os
import sys
import types
from pathlib import Path

# The SDK's detection of the processor takes longer than everything else here.
sys.modules["cpuinfo"] = types.ModuleType("cpuinfo")
vars(sys.modules["cpuinfo"])["get_cpu_info"] = lambda: {"brand_raw": "not looked at"}

from worker.engine.process import EngineProcess  # noqa: E402
from worker.start import run_worker  # noqa: E402

EngineProcess.command = (sys.executable, str(Path(__file__).parent / "engine_process.py"))
sys.exit(run_worker(os.environ))
