"""What the console page costs `worker dev`: idle, and under streams, with a page and without.

    python -m benchmarks.console_cost --streams 300

Needs Chromium. The CPU time is that of the process of `worker dev`, which serves the page, and,
while idle, that of vLLM's front end, which answers for the metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Browser, async_playwright

from benchmarks.environment import LOAD, MODEL, make_environ
from benchmarks.load import Burst, build_input, build_prompts
from benchmarks.model import build_model
from benchmarks.processes import measure_tree
from benchmarks.worker_vllm import find_free_port

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
START_S = 300.0
SETTLE_S = 3.0
VIEWS = ("jobs", "engine")
"""The views that change most."""


class Endpoint:
    """A running `worker dev`."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.page_url = f"http://127.0.0.1:{port}/"
        self.url = f"{self.page_url}v2/local"

    async def count(self, session: aiohttp.ClientSession) -> dict[str, Any]:
        """Return the answer of /health."""
        async with session.get(f"{self.url}/health") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    def cpu_s(self) -> tuple[float, float]:
        """Return CPU seconds of the process itself, and of all but vLLM's engine."""
        usage = measure_tree(self.process.pid)
        return usage.root_cpu_s, usage.front_cpu_s


@contextlib.asynccontextmanager
async def run_endpoint(folder: Path, session: aiohttp.ClientSession) -> AsyncIterator[Endpoint]:
    """Start `worker dev` and wait until its worker is ready."""
    port = find_free_port()
    model = build_model(folder / "model", gpu=False, max_model_len=LOAD.model_len)
    with (folder / "output").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("worker")), "dev", "--port", str(port)),
            env=make_environ(os.environ, model, gpu=False),
            stdout=log,
            stderr=log,
        )
        endpoint = Endpoint(process, port)
        try:
            async with asyncio.timeout(START_S):
                while process.returncode is None:
                    with contextlib.suppress(aiohttp.ClientConnectionError):
                        if (await endpoint.count(session))["workers"]["ready"]:
                            break
                    await asyncio.sleep(0.5)
            yield endpoint
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@contextlib.asynccontextmanager
async def open_page(browser: Browser, endpoint: Endpoint, view: str | None) -> AsyncIterator[None]:
    """Open a view of the console; None opens no page."""
    if view is None:
        await asyncio.sleep(SETTLE_S)
        yield
        return
    page = await browser.new_page()
    await page.goto(f"{endpoint.page_url}#/{view}")
    await page.wait_for_selector("h1")
    await asyncio.sleep(SETTLE_S)
    yield
    await page.close()


async def measure_idle(endpoint: Endpoint, seconds: float) -> tuple[float, float]:
    """Return the share of a core that the process and the front end use while nothing happens."""
    root, front = endpoint.cpu_s()
    began = time.monotonic()
    await asyncio.sleep(seconds)
    passed = time.monotonic() - began
    root_after, front_after = endpoint.cpu_s()
    return (root_after - root) / passed, (front_after - front) / passed


async def measure_burst(
    endpoint: Endpoint, session: aiohttp.ClientSession, burst: Burst
) -> tuple[float, float]:
    """Return CPU seconds of the process and the duration of a burst of streams."""
    target = (await endpoint.count(session))["jobs"]["completed"] + burst.concurrency
    inputs = [build_input(burst, prompt) for prompt in build_prompts(burst)]
    before, _ = endpoint.cpu_s()
    began = time.monotonic()

    async def submit(job_input: Any) -> None:
        async with session.post(f"{endpoint.url}/run", json={"input": job_input}) as answer:
            answer.raise_for_status()

    await asyncio.gather(*map(submit, inputs))
    while (await endpoint.count(session))["jobs"]["completed"] < target:
        await asyncio.sleep(0.25)
    passed = time.monotonic() - began
    return endpoint.cpu_s()[0] - before, passed


async def measure(options: argparse.Namespace) -> None:
    """Alternate the measurements and print each figure."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        sys.exit("no Chromium; `make browser` installs it")
    burst = Burst(options.streams, options.tokens)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            aiohttp.ClientSession() as session,
            run_endpoint(Path(folder), session) as endpoint,
            async_playwright() as playwright,
        ):
            browser = await playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
            print(f"model {MODEL}, {options.streams} streams of {options.tokens} tokens")
            await measure_burst(endpoint, session, Burst(32, 8))
            for view in (None, *VIEWS):
                async with open_page(browser, endpoint, view):
                    root, front = await measure_idle(endpoint, options.idle_s)
                shown = f"{root:.2%} of a core; with vLLM's front end {front:.2%}"
                print(f"idle, {view or 'no page'}: {shown}", flush=True)
            for _ in range(options.rounds):
                for view in (None, *VIEWS):
                    async with open_page(browser, endpoint, view):
                        cpu, passed = await measure_burst(endpoint, session, burst)
                    shown = f"{cpu:.2f} s of CPU in {passed:.1f} s, {cpu / passed:.1%}"
                    print(f"burst, {view or 'no page'}: {shown}", flush=True)
            await browser.close()


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="What the console page costs.")
    parser.add_argument("--streams", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--idle-s", type=float, default=15.0)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
