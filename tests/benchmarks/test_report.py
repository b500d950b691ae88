from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks.hotspots import Hotspot, Profile
from benchmarks.load import Burst
from benchmarks.measure import Results, describe
from benchmarks.plot import draw
from benchmarks.record import Record, Setting, load_record
from benchmarks.report import describe as describe_section
from benchmarks.report import describe_runs, make_panels, replace_section, write_report
from tests.benchmarks.samples import SAMPLE

DOCS = Path(__file__).parents[2] / "docs"
STREAMED, WHOLE = Burst(8, 128, 20), Burst(8, 128, 20, stream=False)


@pytest.fixture
def results() -> Results:
    whole = dataclasses.replace(SAMPLE, first_p50_ms=math.nan, first_p99_ms=math.nan)
    alone = Burst(8, 128), Burst(8, 128, stream=False)
    return Results(
        samples={
            ("engine", alone[0]): [SAMPLE],
            ("engine", alone[1]): [whole],
            ("worker", STREAMED): [SAMPLE, dataclasses.replace(SAMPLE, wall_s=5.0)],
            ("worker", WHOLE): [whole],
        },
        failures={("worker-vllm", STREAMED): "job FAILED: no reason"},
    )


@pytest.fixture
def record(results: Results) -> Record:
    facts = {"machine": "2 cores", "date": "2026-11-23"}
    setting = Setting(["engine", "worker", "worker-vllm"], [STREAMED, WHOLE], 128, 20, facts)
    return Record(setting, results)


def test_write_report_has_facts_targets_tables_and_failures(tmp_path, record):
    path = tmp_path / "docs" / "performance.md"

    write_report(path, "cpu", record)

    text = path.read_text()
    assert text.startswith("# Performance\n")
    assert "- machine: 2 cores" in text
    assert "| first chunk of 8 jobs, at most 1.3 times the engine's | 0.00 ms | 26.0 ms |" in text
    assert "| 8 | worker | 4.50 | 1,234 | 20 / 100 |" in text
    assert "| 8 | worker | 4.00 | 1,234 | - / - |" not in text
    runs = describe_runs(record)
    assert "- machine: 2 cores" in runs
    assert "### Chat, streamed, round trip 20 ms" in runs
    assert "| 8 | worker | 4.50 | 1,234 | 20 / 100 |" in runs
    assert "| 8 | worker | 4.00 | 1,234 | - / - |" in runs
    assert "Medians of 1 to 2 rounds; 128 tokens" in runs
    assert "- worker-vllm, 8 at once, round trip 20 ms: job FAILED: no reason" in text
    assert ElementTree.fromstring((tmp_path / "docs" / "performance-cpu.svg").read_text())


def test_describe_runs_shows_where_the_cpu_time_of_large_loads_goes(record):
    many, alone = Burst(128, 128, 20), Burst(128, 128)
    record.setting.bursts.append(many)
    record.results.samples |= {("engine", alone): [SAMPLE], ("worker", many): [SAMPLE]}
    spots = [Hotspot("library/module.py:7 send", 0.25, 0.75)]
    record.profiles.append(Profile("vLLM's server", 1234, {"library": 0.5, "other": 0.1}, spots))

    text = describe_runs(record)

    assert "| 128 | engine | - | 1.00 | 3.00 | 0.10 | 4.00 |" in text
    assert "| 128 | worker | 0.40 | 0.60 | 3.00 | 0.10 | 4.00 |" in text
    assert "*vLLM's server, 1,234 samples*; by library: library 50%, other 10%." in text
    assert "| `library/module.py:7 send` | 25.0% | 75.0% |" in text


def test_load_record_gives_the_same_report(tmp_path, record):
    record.profiles.append(Profile("server", 2, {"a": 1.0}, [Hotspot("send", 0.5, 1.0)]))
    write_report(tmp_path / "page.md", "cpu", record)

    read = load_record(tmp_path / "page-cpu.json")
    write_report(tmp_path / "again" / "page.md", "cpu", read)

    assert describe_runs(read) == describe_runs(record)
    for name in ("page.md", "page-cpu.svg", "page-cpu.json"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / name).read_text()


@pytest.mark.parametrize("section", ["cpu", "gpu"])
def test_page_and_plot_come_from_the_figures_next_to_them(section):
    figures = load_record(DOCS / f"performance-{section}.json")
    page = (DOCS / "performance.md").read_text()
    plot = (DOCS / f"performance-{section}.svg").read_text()

    assert (
        replace_section(page, section, describe_section(figures, f"performance-{section}")) == page
    )
    assert plot == draw(make_panels(figures.setting, figures.results))


def test_write_report_again_keeps_what_a_person_wrote(tmp_path, record):
    path = tmp_path / "performance.md"
    path.write_text("# Speed\n\nWritten by hand.\n")

    for section in ("cpu", "gpu", "cpu"):
        write_report(path, section, record)

    text = path.read_text()
    assert text.startswith("# Speed\n\nWritten by hand.\n")
    assert text.count("<!-- measured: cpu -->") == text.count("<!-- measured: gpu -->") == 1


def test_replace_section_leaves_the_text_after_it():
    text = "before\n<!-- measured: cpu -->\nold\n<!-- end: cpu -->\nafter\n"

    assert replace_section(text, "cpu", "new") == (
        "before\n<!-- measured: cpu -->\nnew\n<!-- end: cpu -->\nafter\n"
    )


def test_describe_says_what_was_measured_or_why_not(results):
    assert "worker     8 chat streamed, 20 ms: wall 5.00 s" in describe(
        ("worker", STREAMED), results
    )
    assert describe(("worker-vllm", STREAMED), results).endswith("failed, job FAILED: no reason")


def test_results_median_of_the_engine_is_one_for_all_round_trips(results):
    assert results.median("engine", Burst(8, 128, 100)) == SAMPLE
    assert results.median("worker", Burst(8, 128, 100)) is None


def test_documented_sections_are_complete():
    text = (DOCS / "performance.md").read_text(encoding="utf-8")
    assert text.count("<!-- measured: ") == text.count("<!-- end: ") >= 1
