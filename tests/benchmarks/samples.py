"""A benchmark's figures and processes that a test makes up."""

from __future__ import annotations

from pathlib import Path

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
    root_cpu_s=0.4,
    front_cpu_s=1.0,
    engine_cpu_s=3.0,
    endpoint_cpu_s=0.1,
    peak_mb=100.0,
)


def put_process(
    proc: Path, pid: int, parent: int, command: str, *, ticks: int = 0, present_kb: int = 0
) -> None:
    """Put a process into a /proc of the test's own; at its peak it was twice as large as now."""
    folder = proc / str(pid)
    folder.mkdir()
    fields = ["S", parent, *[0] * 9, ticks, ticks, *[0] * 10]
    (folder / "stat").write_text(f"{pid} (odd ) name) {' '.join(map(str, fields))}")
    (folder / "status").write_text(
        f"Name:\tx\nVmHWM:\t{2 * present_kb} kB\nVmRSS:\t{present_kb} kB\n"
    )
    (folder / "cmdline").write_text(command.replace(" ", "\0"))
