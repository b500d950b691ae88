"""Measure `worker start` phase by phase, in the ways that docs/cold-start.md compares.

    MODEL_NAME=... python3 scripts/measure_start.py [--runs 2] [way ...]

Starts one worker after the other on a loopback port, waits until it is ready, stops it, and prints
a Markdown table. The phases are those that the worker logs itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WAYS: dict[str, dict[str, str]] = {
    "as shipped": {},
    "spawned": {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"},
    # An empty folder replaces all compiled files, and Python writes no new ones.
    "no bytecode": {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": "{empty}"},
    "no model-info cache": {"VLLM_CACHE_ROOT": "{empty}"},
}
"""Name -> what differs in the environment."""

MARK = "start: "
MAX_WAIT_S = 240.0


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def measure(way: str) -> dict[str, float]:
    """Start once and return each phase's seconds, with `ready` for the whole."""
    with tempfile.TemporaryDirectory() as empty:
        changes = {name: value.format(empty=empty) for name, value in WAYS[way].items()}
        environ = {**os.environ, "PORT": str(free_port()), **changes}
        worker = Path(sys.executable).with_name("worker")
        process = subprocess.Popen(
            [worker, "start", "--mode", "pod"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = []
        try:
            for line in process.stdout or ():
                lines.append(line)
                if MARK in line:
                    report = json.loads(line.partition(MARK)[2])
                    return {**report["phases"], "ready": report["seconds"]}
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=MAX_WAIT_S)
    raise RuntimeError(f"{way}: the worker did not start\n" + "".join(lines[-20:]))


def print_table(results: dict[str, list[dict[str, float]]]) -> None:
    """Print the median of each phase, and the least and most of the whole."""
    phases = list(next(iter(results.values()))[0])
    print("| | " + " | ".join(phases) + " | least to most |")
    print("|---|" + "---|" * (len(phases) + 1))
    for way, runs in results.items():
        cells = [f"{statistics.median(run.get(phase, 0) for run in runs):.1f}" for phase in phases]
        whole = [run["ready"] for run in runs]
        print(f"| {way} | " + " | ".join(cells) + f" | {min(whole):.1f} to {max(whole):.1f} |")


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ways", nargs="*", default=[], metavar="way", help=", ".join(WAYS))
    parser.add_argument("--runs", type=int, default=2)
    chosen = parser.parse_args()
    ways = chosen.ways or list(WAYS)
    print_table({way: [measure(way) for _ in range(chosen.runs)] for way in ways})


if __name__ == "__main__":
    main()
