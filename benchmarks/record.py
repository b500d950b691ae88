"""A measurement as JSON, from which its report can be written again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks.hotspots import Hotspot, Profile
from benchmarks.load import Burst
from benchmarks.measure import Results
from benchmarks.sample import Sample


@dataclass(frozen=True, slots=True)
class Setting:
    """The setting of a measurement.

    Attributes:
        systems: Names, in the order of the tables.
        bursts: What was to be measured.
        tokens: Tokens per request.
        base_rtt_ms: The round trip at which everything was measured.
        facts: Label -> text, of machine, versions, command and date.
    """

    systems: list[str]
    bursts: list[Burst]
    tokens: int
    base_rtt_ms: float
    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """A measurement.

    Attributes:
        setting: How it was made.
        results: Its figures.
        profiles: Where the time of the worker's processes went, if that was asked for.
    """

    setting: Setting
    results: Results
    profiles: list[Profile] = field(default_factory=list)


def save_record(path: Path, record: Record) -> None:
    """Write a measurement."""
    results = record.results
    content = {
        "setting": record.setting,
        "profiles": record.profiles,
        "samples": [
            {"system": system, "burst": burst, "rounds": rounds}
            for (system, burst), rounds in results.samples.items()
        ],
        "failures": [
            {"system": system, "burst": burst, "why": why}
            for (system, burst), why in results.failures.items()
        ],
    }
    # What is not a number becomes null.
    path.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def load_record(path: Path) -> Record:
    """Read what `save_record` has written."""
    content = orjson.loads(path.read_bytes())
    setting = content["setting"]
    setting["bursts"] = [Burst(**burst) for burst in setting["bursts"]]
    results = Results(
        samples={
            (each["system"], Burst(**each["burst"])): [_read_sample(s) for s in each["rounds"]]
            for each in content["samples"]
        },
        failures={
            (each["system"], Burst(**each["burst"])): each["why"] for each in content["failures"]
        },
    )
    return Record(Setting(**setting), results, [_read_profile(p) for p in content["profiles"]])


def _read_profile(content: dict[str, Any]) -> Profile:
    return Profile(**{**content, "hotspots": [Hotspot(**spot) for spot in content["hotspots"]]})


def _read_sample(figures: dict[str, Any]) -> Sample:
    return Sample(**{name: math.nan if v is None else v for name, v in figures.items()})
