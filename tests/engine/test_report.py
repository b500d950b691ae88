"""What a start was spent on."""

import time

import pytest

from worker.engine import report as module
from worker.engine.report import COMPILE, DOWNLOAD, GRAPHS, READ, StartReport, process_age_s

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


def test_phases_add_up_to_the_whole():
    report = StartReport(1.0)
    report.begin("import")
    began = time.monotonic()
    time.sleep(0.03)
    report.begin("load")
    report.beside("weights", began, bytes=7)
    time.sleep(0.02)
    data = report.data()
    assert list(data["phases"]) == ["interpreter and imports", "import", "load"]
    assert abs(sum(data["phases"].values()) - data["seconds"]) < 0.03
    assert data["phases"]["interpreter and imports"] >= 1.0
    assert data["phases"]["import"] >= 0.03
    assert data["beside"]["weights"]["bytes"] == 7
    assert data["beside"]["weights"]["from_s"] >= 1.0


def test_age_of_this_process_is_plausible():
    first = process_age_s()
    assert 0 < first < 3600
    time.sleep(0.02)
    assert process_age_s() > first


def read(*lines: str, **facts: bool) -> dict[str, object]:
    report = StartReport(0.0, **facts)
    for line in lines:
        report.read(line)
    return report.data()


def test_parts_of_loading_are_those_that_vllm_tells():
    data = read("INFO something else took 99 seconds", *LINES.values())
    assert data["within"] == {DOWNLOAD: 61.25, READ: 18.4, COMPILE: 30.2, GRAPHS: 14.0}


def test_of_several_processes_the_slowest_counts():
    lines = [LINES[READ].replace("18.40", seconds) for seconds in ("3.00", "12.50", "1.00")]
    assert read(*lines)["within"] == {READ: 12.5}


@pytest.mark.parametrize(
    ("lines", "facts", "expected"),
    [
        pytest.param([], {}, [], id="nothing"),
        pytest.param([LINES[READ].replace("18.40", "1.00")], {}, [], id="short"),
        pytest.param([LINES[DOWNLOAD]], {}, [module.REMEDIES[DOWNLOAD]], id="download"),
        pytest.param([LINES[READ]], {}, [module.REMEDIES[READ]], id="read"),
        pytest.param([LINES[GRAPHS]], {}, [module.REMEDIES[GRAPHS]], id="graphs"),
        pytest.param([LINES[COMPILE]], {}, [module.COMPILE_ANEW], id="compiled-in-vain"),
        pytest.param(
            [LINES[COMPILE]], {"keeps_caches": True}, [module.COMPILE_KEPT], id="compiled-and-kept"
        ),
        pytest.param([], {"has_bytecode": False}, [module.NO_BYTECODE], id="no-bytecode"),
        pytest.param(
            list(LINES.values()),
            {"has_bytecode": False},
            [
                module.NO_BYTECODE,
                module.REMEDIES[DOWNLOAD],
                module.REMEDIES[READ],
                module.COMPILE_ANEW,
                module.REMEDIES[GRAPHS],
            ],
            id="all",
        ),
    ],
)
def test_what_would_make_a_start_shorter(lines, facts, expected):
    assert read(*lines, **facts)["shorter"] == expected
