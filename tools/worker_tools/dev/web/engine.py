"""vLLM's metrics over time, and the input of its model, read directly from vLLM."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from worker.engine.client import STATISTICS, EngineClient

INTERVAL_S = 2.0
KEPT_S = 600
REQUEST_TIMEOUT_S = 5.0
SOCKET_OPTION = "--uds"
"""The argument of vLLM's server before the Unix socket that it serves on."""

RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
CACHE = "vllm:kv_cache_usage_perc"
TOKENS_OUT = "vllm:generation_tokens_total"
TOKENS_IN = "vllm:prompt_tokens_total"
FIRST_SUM = "vllm:time_to_first_token_seconds_sum"
FIRST_COUNT = "vllm:time_to_first_token_seconds_count"
NAMES = frozenset({RUNNING, WAITING, CACHE, TOKENS_OUT, TOKENS_IN, FIRST_SUM, FIRST_COUNT})

ALL_METRICS = "/metrics"
FEW_METRICS = "/metrics/?" + "&".join(f"name[]={name}" for name in sorted(NAMES))
"""A tenth of the work of all metrics. With the slash, prometheus_client answers, which knows the
filter; its collector for several API servers does not, and answers with nothing."""

SERIES = ("at", "running", "waiting", "tokens_out", "tokens_in", "cache", "first_s")
"""Members of a sample: milliseconds since 1970, requests, requests, tokens per second, tokens per
second, share of the KV cache, and mean seconds to the first token since the last sample."""

IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAS0lEQVR42u3PMQ0AAAwDoEqv9Er"
    "YvQQckD4XAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAYHLAB8+AWnmfUycAAAAAElFTkSu"
    "QmCC"
)
"""64 by 64 grey pixels."""


def read_metrics(text: str) -> dict[str, float]:
    """Return the values of `NAMES` in the text of /metrics; several engines are added up."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith(STATISTICS):
            name = line.partition(" ")[0].partition("{")[0]
            if name in NAMES:
                found[name] = found.get(name, 0.0) + float(line.rpartition(" ")[2])
    return found


def find_socket(worker_pid: int) -> Path | None:
    """Return the Unix socket of the vLLM below a worker; None if there is none yet."""
    with suppress(psutil.Error):
        for process in psutil.Process(worker_pid).children(recursive=True):
            with suppress(psutil.Error, ValueError, IndexError):
                arguments = process.cmdline()
                path = Path(arguments[arguments.index(SOCKET_OPTION) + 1])
                if path.is_socket():
                    return path
    return None


class EngineMonitor:
    """Samples the engines' metrics while it is asked to.

    Args:
        worker_pids: Returns the process ids of the workers that serve.
        on_sample: Called with each sample, in the order of `SERIES`.
    """

    def __init__(
        self, worker_pids: Callable[[], Sequence[int]], on_sample: Callable[[list[Any]], None]
    ) -> None:
        self._worker_pids = worker_pids
        self._on_sample = on_sample
        self.samples: deque[list[Any]] = deque(maxlen=round(KEPT_S / INTERVAL_S))
        self._clients: dict[int, EngineClient] = {}
        self._last: tuple[float, dict[str, float]] | None = None
        self._abilities: dict[str, Any] | None = None

    async def sample(self) -> None:
        """Take one sample; nothing happens while no engine answers."""
        found = [
            metrics for client in await self._connect() if (metrics := await read_client(client))
        ]
        if not found:
            self._last = None
            return
        now = time.monotonic()
        total = {name: sum(metrics.get(name, 0.0) for metrics in found) for name in NAMES}
        total[CACHE] /= len(found)
        sample = self._compare(now, total)
        self._last = now, total
        self.samples.append(sample)
        self._on_sample(sample)

    def _compare(self, now: float, total: dict[str, float]) -> list[Any]:
        rates: list[float | None] = [None, None, None]
        if self._last is not None:
            before, old = self._last
            rates[0] = round((total[TOKENS_OUT] - old[TOKENS_OUT]) / (now - before), 2)
            rates[1] = round((total[TOKENS_IN] - old[TOKENS_IN]) / (now - before), 2)
            if (count := total[FIRST_COUNT] - old[FIRST_COUNT]) > 0:
                rates[2] = round((total[FIRST_SUM] - old[FIRST_SUM]) / count, 4)
        levels = [round(time.time() * 1000), total[RUNNING], total[WAITING]]
        return [*levels, rates[0], rates[1], round(total[CACHE], 4), rates[2]]

    async def find_abilities(self) -> dict[str, Any]:
        """Return which routes the engine serves and whether its model takes images.

        Both are None while no engine answers.
        """
        if self._abilities is None:
            for client in await self._connect():
                with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                    async with asyncio.timeout(REQUEST_TIMEOUT_S):
                        self._abilities = await _ask_abilities(client)
        return self._abilities or {"routes": None, "images": None}

    async def forget(self) -> None:
        """Close all connections: the engines have ended."""
        clients, self._clients = self._clients, {}
        self._abilities = self._last = None
        for client in clients.values():
            await client.close()

    async def _connect(self) -> list[EngineClient]:
        for pid in self._worker_pids():
            if pid not in self._clients:
                path = await asyncio.to_thread(find_socket, pid)
                if path is not None:
                    self._clients[pid] = EngineClient(path)
        return list(self._clients.values())


async def read_client(client: EngineClient) -> dict[str, float]:
    """Return the values of `NAMES` of one engine; empty if it does not answer."""
    return await _fetch(client, FEW_METRICS) or await _fetch(client, ALL_METRICS)


async def _fetch(client: EngineClient, path: str) -> dict[str, float]:
    with suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
        async with asyncio.timeout(REQUEST_TIMEOUT_S), client.request("GET", path) as answer:
            return read_metrics(await answer.text())
    return {}


async def _ask_abilities(client: EngineClient) -> dict[str, Any]:
    async with client.request("GET", "/openapi.json") as answer:
        routes = sorted((await answer.json()).get("paths", {}))
    part = {"type": "image_url", "image_url": {"url": IMAGE}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    async with client.request("POST", "/tokenize", body) as answer:
        await answer.read()
        return {"routes": routes, "images": answer.status == 200}
