from __future__ import annotations

import dataclasses
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks.load import Burst
from benchmarks.measure import Results, describe
from benchmarks.report import Setting, replace_section, write_report
from benchmarks.sample import Sample

SAMPLE = Sample(
    wall_s=4.0,
    first_p50_ms=20.0,
    first_p99_ms=100.0,
    gap_p50_ms=5.0,
    gap_p99_ms=50.0,
    tokens_per_s=1234.0,
    posts=10.0,
    kilobytes=10.0,
    front_cpu_s=1.0,
    engine_cpu_s=3.0,
    endpoint_cpu_s=0.1,
    peak_mb=100.0,
)
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
        failures={("peer", STREAMED): "job FAILED: no reason"},
    )


@pytest.fixture
def setting() -> Setting:
    facts = {"machine": "2 cores", "date": "2026-11-23"}
    return Setting(["engine", "worker", "peer"], [STREAMED, WHOLE], 128, 20, facts)


def test_write_report_has_facts_targets_tables_and_failures(tmp_path, setting, results):
    path = tmp_path / "docs" / "performance.md"

    write_report(path, "cpu", setting, results)

    text = path.read_text()
    assert text.startswith("# Performance\n")
    assert "- machine: 2 cores" in text
    assert "| first chunk of 8 jobs, at most 1.3 times the engine's | 0.00 ms | 26.0 ms |" in text
    assert "### Chat, streamed, round trip 20 ms" in text
    assert "| 8 | worker | 4.50 | 1,234 | 20 / 100 |" in text
    assert "| 8 | worker | 4.00 | 1,234 | - / - |" in text
    assert "Medians of 1 to 2 rounds; 128 tokens" in text
    assert "- peer, 8 at once, round trip 20 ms: job FAILED: no reason" in text
    assert ElementTree.fromstring((tmp_path / "docs" / "performance-cpu.svg").read_text())


def test_write_report_again_keeps_what_a_person_wrote(tmp_path, setting, results):
    path = tmp_path / "performance.md"
    path.write_text("# Speed\n\nWritten by hand.\n")

    for section in ("cpu", "gpu", "cpu"):
        write_report(path, section, setting, results)

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
    assert describe(("peer", STREAMED), results).endswith("failed, job FAILED: no reason")


def test_results_median_of_the_engine_is_one_for_all_round_trips(results):
    assert results.median("engine", Burst(8, 128, 100)) == SAMPLE
    assert results.median("worker", Burst(8, 128, 100)) is None


def test_documented_sections_are_complete():
    page = Path(__file__).parents[2] / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8")

    assert text.count("<!-- measured: ") == text.count("<!-- end: ") >= 1
