"""Durations of the phases of a start."""

import time

import pytest

from worker.engine import startup_timing as module
from worker.engine.startup_timing import (
    COMPILE,
    DOWNLOAD,
    GRAPHS,
    LOAD,
    READ,
    StartupTimings,
    process_age_s,
)

LINES = {
    DOWNLOAD: "INFO 11-25 10:00:00 [weight_utils.py:533] Time spent downloading weights for "
    "org/model: 61.250000 seconds",
    READ: "(EngineCore pid=7) INFO 11-25 10:00:00 [default_loader.py:502] Loading weights took "
    "18.40 seconds",
    COMPILE: "(EngineCore pid=7) INFO [monitor.py:48] torch.compile took 30.20 s in total",
    GRAPHS: "(EngineCore pid=7) INFO [gpu_model_runner.py:6582] Graph capturing finished in 14 "
    "secs, took 0.40 GiB",
}
"""As vLLM writes them."""


def test_to_dict_phases_add_up_to_the_total():
    timings = StartupTimings(1.0)
    timings.start_phase("import")
    began = time.monotonic()
    time.sleep(0.03)
    timings.start_phase("load")
    timings.record_background("weights", began, bytes=7)
    time.sleep(0.02)
    data = timings.to_dict()
    assert list(data["phases"]) == ["interpreter and imports", "import", "load"]
    assert abs(sum(data["phases"].values()) - data["seconds"]) < 0.03
    assert data["phases"]["interpreter and imports"] >= 1.0
    assert data["phases"]["import"] >= 0.03
    assert data["background"]["weights"]["bytes"] == 7
    assert data["background"]["weights"]["from_s"] >= 1.0


@pytest.mark.parametrize(("price", "expected"), [(0.00116, 0.0232), (None, None)])
def test_start_has_a_price_where_the_price_of_the_gpu_is_known(monkeypatch, price, expected):
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    timings = StartupTimings(20.0, usd_per_s=price)

    assert timings.to_dict().get("usd") == expected


def test_load_steps_divide_the_phase_of_loading(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    timings = StartupTimings(0.0)
    timings.start_phase(LOAD)
    for at, line in (
        (0.5, "core.py:133] Initializing a V1 LLM engine (v0.32.0) with config"),
        (2.0, LINES[READ]),
        (3.0, "Graph capturing finished in 1 secs, took 0.4 GiB"),
        (3.25, "GPU KV cache size: 472,896 tokens, Maximum concurrency"),
        (6.0, "Graph capturing finished in 2 secs, took 0.4 GiB"),
    ):
        clock[0] = at
        timings.read_line(line)
    clock[0] = 7.0
    timings.start_phase("self-test")
    clock[0] = 9.0

    data = timings.to_dict()

    assert data["load_steps"] == {
        "starting the engine": 0.5,
        "reading the weights": 1.5,
        "measuring memory": 1.25,
        "compiling kernels and capturing CUDA graphs": 2.75,
        "starting the API servers": 1.0,
    }
    assert sum(data["load_steps"].values()) == data["phases"][LOAD]


def test_phase_that_several_servers_report_goes_on(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    timings = StartupTimings(0.0)
    for at in (1.0, 2.0, 3.0):
        clock[0] = at
        timings.start_phase(LOAD)
    clock[0] = 5.0

    data = timings.to_dict()

    assert data["phases"] == {"interpreter and imports": 1.0, LOAD: 4.0}


def test_load_steps_of_a_start_without_lines_are_none():
    timings = StartupTimings(0.0)
    timings.start_phase(LOAD)

    assert timings.to_dict()["load_steps"] == {}


def test_process_age_s_of_a_young_process_grows():
    first = process_age_s()
    assert 0 < first < 3600
    time.sleep(0.02)
    assert process_age_s() > first


def read(*lines: str, **facts: bool) -> dict[str, object]:
    timings = StartupTimings(0.0, **facts)
    for line in lines:
        timings.read_line(line)
    return timings.to_dict()


def test_read_line_records_the_durations_that_vllm_logs():
    data = read("INFO something else took 99 seconds", *LINES.values())
    assert data["vllm_phases"] == {DOWNLOAD: 61.25, READ: 18.4, COMPILE: 30.2, GRAPHS: 14.0}


def test_read_line_from_several_processes_keeps_the_slowest():
    lines = [LINES[READ].replace("18.40", seconds) for seconds in ("3.00", "12.50", "1.00")]
    assert read(*lines)["vllm_phases"] == {READ: 12.5}


@pytest.mark.parametrize(
    ("lines", "facts", "expected"),
    [
        pytest.param([], {}, [], id="nothing"),
        pytest.param([LINES[READ].replace("18.40", "1.00")], {}, [], id="short"),
        pytest.param([LINES[DOWNLOAD]], {}, [module.SUGGESTIONS[DOWNLOAD]], id="download"),
        pytest.param([LINES[READ]], {}, [module.SUGGESTIONS[READ]], id="read"),
        pytest.param([LINES[GRAPHS]], {}, [module.SUGGESTIONS[GRAPHS]], id="graphs"),
        pytest.param([LINES[COMPILE]], {}, [module.COMPILE_NOT_CACHED], id="compiled-not-cached"),
        pytest.param(
            [LINES[COMPILE]], {"keeps_caches": True}, [module.COMPILE_CACHED], id="compiled-cached"
        ),
        pytest.param([], {"has_bytecode": False}, [module.NO_BYTECODE], id="no-bytecode"),
        pytest.param(
            list(LINES.values()),
            {"has_bytecode": False},
            [
                module.NO_BYTECODE,
                module.SUGGESTIONS[DOWNLOAD],
                module.SUGGESTIONS[READ],
                module.COMPILE_NOT_CACHED,
                module.SUGGESTIONS[GRAPHS],
            ],
            id="all",
        ),
    ],
)
def test_to_dict_suggests_how_to_shorten_a_start(lines, facts, expected):
    assert read(*lines, **facts)["suggestions"] == expected
