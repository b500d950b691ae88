"""Durations of the phases of a start."""

import time

import pytest

from worker.engine import startup_timing as module
from worker.engine.startup_timing import (
    COMPILE,
    DOWNLOAD,
    GRAPHS,
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
