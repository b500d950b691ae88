"""Tasks that run in parallel with the start, from the settings."""

import asyncio

import pytest

from worker.engine.caches import CacheMirror
from worker.engine.startup_tasks import StartupTasks, plan_startup_tasks
from worker.engine.startup_timing import StartupTimings
from worker.machine import GIB, MachineInfo
from worker.settings import load_settings
from worker.settings.engine_environment import cache_variables

GPU = MachineInfo(1, 24 * GIB)


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"123")
    return folder


def load(**environ):
    return load_settings(environ, machine=GPU)


async def run(tasks):
    tasks.start()
    tasks.store_caches()
    await tasks.stop()


async def test_plan_reads_weights_and_caches(model, tmp_path, monkeypatch):
    monkeypatch.setattr("worker.engine.startup_tasks.LOCAL_CACHE", tmp_path / "local")
    settings = load(MODEL_NAME=str(model), BASE_PATH=str(tmp_path))
    timings = StartupTimings(0)
    await run(plan_startup_tasks(settings, {}, timings))
    assert set(timings.to_dict()["background"]) == {
        "weights into memory",
        "caches from the volume",
        "caches to the volume",
    }
    assert settings.cache is not None
    assert settings.cache.parent == tmp_path / "worker-cache"
    assert "0.32.0" in settings.cache.name


@pytest.mark.parametrize(
    "environ", [{"LOAD_FORMAT": "dummy"}, {"PREFETCH_WEIGHTS": "false"}], ids=["dummy", "off"]
)
async def test_plan_without_anything_to_read(model, environ):
    timings = StartupTimings(0)
    await run(plan_startup_tasks(load(MODEL_NAME=str(model), **environ), {}, timings))
    assert timings.to_dict()["background"] == {}


async def test_what_is_compiled_while_serving_is_kept_at_the_end(tmp_path):
    kept, local = tmp_path / "kept", tmp_path / "local"
    local.mkdir()
    tasks = StartupTasks(CacheMirror(kept, local), None, StartupTimings(0))
    (local / "at-start.so").write_bytes(b"1")
    tasks.store_caches()
    await tasks.finish(5)
    (local / "later.so").write_bytes(b"2")
    await tasks.finish(5)
    await tasks.stop()
    assert sorted(path.name for path in kept.iterdir()) == ["at-start.so", "later.so"]


async def test_end_does_not_wait_for_a_copy_that_takes_too_long(tmp_path):
    class Slow(CacheMirror):
        stores = 0

        def store(self) -> int:
            self.stores += 1
            self._stopped.wait(10)
            return 0

    mirror = Slow(tmp_path / "kept", tmp_path / "local")
    tasks = StartupTasks(mirror, None, StartupTimings(0))
    async with asyncio.timeout(5):
        tasks.store_caches()
        await tasks.finish(0.05)
        await tasks.stop()
    assert mirror.stores == 1


async def test_end_without_caches_does_nothing():
    await StartupTasks(None, None, StartupTimings(0)).finish(5)


async def test_stop_without_begin_does_nothing():
    await StartupTasks(None, None, StartupTimings(0)).stop()


def test_cache_variables_leave_what_is_set(tmp_path):
    variables = cache_variables(tmp_path, {"TRITON_CACHE_DIR": "/mine"})
    assert "TRITON_CACHE_DIR" not in variables
    assert variables["VLLM_CACHE_ROOT"] == str(tmp_path / "vllm")
    assert variables["VLLM_ENABLE_STARTUP_PLAN"] == "1"


FAST = '{"mode":0,"cudagraph_mode":"FULL_DECODE_ONLY"}'


@pytest.mark.parametrize(
    ("gpus", "environ", "added"),
    [
        pytest.param(1, {}, [], id="default"),
        pytest.param(1, {"STARTUP_PROFILE": "balanced"}, [], id="balanced"),
        pytest.param(1, {"STARTUP_PROFILE": "fast"}, ["--compilation-config", FAST], id="fast"),
        pytest.param(0, {"STARTUP_PROFILE": "fast"}, [], id="fast-without-gpu"),
        pytest.param(
            1, {"STARTUP_PROFILE": "throughput"}, ["--optimization-level", "3"], id="throughput"
        ),
        pytest.param(
            1,
            {"STARTUP_PROFILE": "throughput", "OPTIMIZATION_LEVEL": "1"},
            ["--optimization-level", "1"],
            id="set",
        ),
    ],
)
def test_startup_profile_chooses_options_on_a_gpu(gpus, environ, added):
    machine = MachineInfo(gpus, 64 * GIB, cores=4)
    arguments = load_settings(environ, machine=machine).engine_arguments()

    chosen = [
        text
        for at, option in enumerate(arguments)
        if option in ("--compilation-config", "--optimization-level")
        for text in arguments[at : at + 2]
    ]
    assert chosen == added


def test_fast_start_captures_graphs_for_nine_sizes():
    machine = MachineInfo(1, 64 * GIB, cores=4)
    arguments = load_settings({"STARTUP_PROFILE": "fast"}, machine=machine).engine_arguments()

    at = arguments.index("--cudagraph-capture-sizes")
    assert arguments[at + 1 : at + 10] == ["1", "2", "4", "8", "16", "32", "64", "128", "256"]
