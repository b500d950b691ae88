from __future__ import annotations

import os
from typing import Any

from benchmarks import first_chunk, measure
from benchmarks.first_chunk import IN_A_ROW, WARM_UP, measure_first_chunks
from benchmarks.load import Burst, Stream


async def test_systems_take_turns_and_count_only_when_they_are_awake(monkeypatch):
    asked: list[str] = []

    class System:
        name = "worker"
        pid = os.getpid()

        async def run(self, _burst: Burst) -> list[Stream]:
            asked.append("worker")
            return [Stream(1.0, (1.0 + len(asked),), 9.0, 1)]

    class Server:
        name = "server"

        def __init__(self, _worker: object) -> None: ...

        async def first_chunk_s(self, _burst: Burst) -> float:
            asked.append("server")
            return 0.5

        async def close(self) -> None:
            asked.append("closed")

    monkeypatch.setattr(first_chunk, "Server", Server)
    monkeypatch.setattr(measure, "QUIET_TIMEOUT_S", 0)
    worker: Any = System()

    found = await measure_first_chunks([worker], worker, IN_A_ROW + 1, lambda _text: None)

    turns = [WARM_UP + IN_A_ROW, WARM_UP + 1]
    assert asked == [
        *(name for turn in turns for name in ["server"] * turn + ["worker"] * turn),
        "closed",
    ]
    assert found["server"] == [0.5] * (IN_A_ROW + 1)
    first = turns[0] + WARM_UP + 1
    assert found["worker"] == [float(n) for n in (*range(first, first + IN_A_ROW), len(asked) - 1)]
