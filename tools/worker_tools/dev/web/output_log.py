"""The output of the workers: recent lines, those of each job, and the phases of the last start."""

from __future__ import annotations

import json
import re
import time
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

MOST_LINES = 1000
MOST_JOBS = 2000
LINES_PER_JOB = 50
MAX_LINE_LENGTH = 4096
"""Characters."""

PHASE = re.compile(r"\bengine, +([\d.]+) s: (.+)$")
REPORT = re.compile(r"\bstart: (\{.+\})$")
BEGIN = re.compile(r"\bstarting vLLM with ")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a worker.

    Attributes:
        n: Counts the lines from 1; a cursor.
        at: When it arrived, milliseconds since 1970.
        worker: Id of the worker.
        level: Level as the worker wrote it, empty for output of others.
        text: The line.
        job: Id of the job that it is about, if any.
    """

    n: int
    at: int
    worker: str
    level: str
    text: str
    job: str | None


def parse_line(line: str) -> tuple[str, str, str | None]:
    """Return level, text and job of a line; those of RunPod's SDK and of the worker are JSON."""
    if line.startswith("{"):
        with suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            job = entry.get("requestId")
            return str(entry["level"]), str(entry["message"]), None if job is None else str(job)
    return "", line, None


class OutputLog:
    """Stores the output of the workers, which is small."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=MOST_LINES)
        self._by_job: OrderedDict[str, list[Line]] = OrderedDict()
        self._count = 0
        self.begin_start()

    @property
    def count(self) -> int:
        """How many lines there were."""
        return self._count

    def begin_start(self) -> None:
        """Clear the last start, because a new one begins."""
        self.began_ms = time.time() * 1000
        self.phases: list[dict[str, Any]] = []
        self.report: dict[str, Any] | None = None
        self._starting: str | None = None

    def add(self, worker_id: str, line: str) -> None:
        """Keep one line of a worker."""
        level, text, job = parse_line(line)
        self._count += 1
        # JSON can escape half of a surrogate pair, which no reply could hold.
        text = text[:MAX_LINE_LENGTH].encode(errors="replace").decode()
        entry = Line(self._count, round(time.time() * 1000), worker_id, level, text, job)
        self._lines.append(entry)
        if job is not None:
            self._add_to_job(job, entry)
        if self.report is None:
            self._read_start(worker_id, text)

    def after(self, number: int) -> list[dict[str, Any]]:
        """Return the kept lines after a cursor."""
        return [asdict(line) for line in self._lines if line.n > number]

    def of_job(self, job_id: str) -> list[dict[str, Any]]:
        """Return the lines of one job."""
        return [asdict(line) for line in self._by_job.get(job_id, ())]

    def _add_to_job(self, job: str, entry: Line) -> None:
        lines = self._by_job.setdefault(job, [])
        if len(lines) < LINES_PER_JOB:
            lines.append(entry)
        if len(self._by_job) > MOST_JOBS:
            self._by_job.popitem(last=False)

    def _read_start(self, worker_id: str, text: str) -> None:
        """Read the start of one worker: the first that begins."""
        if BEGIN.search(text) and self._starting is None:
            self._starting = worker_id
        elif worker_id != self._starting:
            return
        elif found := PHASE.search(text):
            self.phases.append({"at_s": float(found[1]), "name": found[2]})
        elif found := REPORT.search(text):
            with suppress(ValueError):
                self.report = json.loads(found[1])
