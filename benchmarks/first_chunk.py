"""Time to the first chunk of one job on an idle worker, compared with vLLM's API server."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from benchmarks.load import ROUTES, Burst, build_input, build_prompts
from benchmarks.measure import wait_quiet
from benchmarks.processes import find_socket
from benchmarks.quantile import percentile
from benchmarks.report import describe_facts, make_table
from benchmarks.systems import Deployed, System
from worker.engine.client import EngineClient

TOKENS = 16
"""Tokens of an answer: enough for a stream, few enough to be fast."""

PERCENTS = (10, 50, 90, 99)

IN_A_ROW = 10
"""Consecutive requests to one system before the next one."""

WARM_UP = 3
"""Warm-up requests, which are not measured."""

Ask = Callable[[Burst], Awaitable[float]]


class Server:
    """vLLM's API server in a worker, requested directly over its Unix socket.

    Args:
        worker: The worker that it belongs to; running.
    """

    name = "vLLM's server"

    def __init__(self, worker: Deployed) -> None:
        self._client = EngineClient(find_socket(worker.pid))

    async def first_chunk_s(self, burst: Burst) -> float:
        """Send one request and return the seconds until the first bytes of its answer."""
        [prompt] = build_prompts(burst)
        body = build_input(burst, prompt)["openai_input"]
        began_s = time.monotonic()
        async with self._client.request("POST", ROUTES[burst.shape], body) as response:
            await response.content.readany()
            took_s = time.monotonic() - began_s
            await response.read()
        return took_s

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()


def describe_first_chunks(found: Mapping[str, Sequence[float]], facts: dict[str, str]) -> str:
    """Return the figures as Markdown.

    Args:
        found: Seconds to the first chunk, by name.
        facts: With what, when and how they were measured.
    """
    rows = [
        (name, *(f"{percentile(seconds, percent) * 1000:.1f}" for percent in PERCENTS))
        for name, seconds in found.items()
    ]
    return "\n\n".join(
        [
            describe_facts(facts),
            f"First chunk of one job on an idle system, {TOKENS} tokens, no round trip to the "
            "platform, one request after the other; milliseconds.",
            make_table(("", *(f"p{percent}" for percent in PERCENTS)), rows),
        ]
    )


async def measure_first_chunks(
    systems: list[System], worker: Deployed, repetitions: int, report: Callable[[str], None]
) -> dict[str, list[float]]:
    """Measure the systems in turn, with a few consecutive requests each.

    Args:
        systems: What is compared, `worker` among it; all running and idle.
        worker: Whose vLLM is asked directly too.
        repetitions: Requests to each.
        report: Shows progress.

    Returns:
        Seconds to the first chunk, by name.
    """
    burst = Burst(concurrency=1, tokens=TOKENS)
    server = Server(worker)
    turns: list[tuple[str, System, Ask]] = [(server.name, worker, server.first_chunk_s)]
    turns += [(system.name, system, partial(ask, system)) for system in systems]
    found: dict[str, list[float]] = {name: [] for name, _, _ in turns}
    try:
        for done in range(0, repetitions, IN_A_ROW):
            for name, asked, ask_once in turns:
                await wait_quiet([other for other in systems if other is not asked])
                count = WARM_UP + min(IN_A_ROW, repetitions - done)
                found[name] += [await ask_once(burst) for _ in range(count)][WARM_UP:]
            report(f"{len(found[server.name])} of {repetitions} repetitions")
    finally:
        await server.close()
    return found


async def ask(system: System, burst: Burst) -> float:
    """Send one request and return the seconds until its first chunk."""
    [stream] = await system.run(burst)
    return stream.chunks_s[0] - stream.submitted_s
