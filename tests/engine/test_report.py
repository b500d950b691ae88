"""What a start was spent on."""

import time

from worker.engine.report import StartReport, process_age_s


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
