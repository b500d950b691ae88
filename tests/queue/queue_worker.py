"""A worker with the real SDK and the real job loop; each job's input says what its handler does.

The option `--drain SECONDS` limits the wait for jobs at the end.
"""

import argparse
import asyncio
import json
import signal
import sys
import types

import uvloop

# The SDK's detection of the processor takes longer than everything else here.
sys.modules["cpuinfo"] = types.ModuleType("cpuinfo")
vars(sys.modules["cpuinfo"])["get_cpu_info"] = lambda: {"brand_raw": "not looked at"}

from worker.engine.parent_death import set_pdeathsig_on_fork  # noqa: E402
from worker.errors import RequestError  # noqa: E402
from worker.queue import EventDrivenScaler, loop, sdk  # noqa: E402
from worker.request import Batching, RequestDefaults, parse_job  # noqa: E402
from worker.transport import finish_jobs  # noqa: E402

PLACES = 8
DEFAULTS = RequestDefaults("tiny", Batching(1, 1, 1.0), max_tokens=1)
running = 0
most = 0


def check(job_input):
    """Return what the worker's own handler makes of an input before it asks vLLM."""
    try:
        parse_job(job_input, DEFAULTS)
    except RequestError as error:
        return {"error": error.json(), "raised_at": error.raised_at}
    return "accepted"


async def handle(job):
    global running, most
    body = job["input"]
    if not isinstance(body, dict) or "prompt" in body:
        yield check(body)
        return
    running += 1
    most = max(most, running)
    try:
        for output in body.get("outputs", []):
            yield output
            await asyncio.sleep(body.get("pause_s", 0))
        if "sleep_s" in body:
            print(f"{job['id']} sleeps", flush=True)
            await asyncio.sleep(body["sleep_s"])
        if "raise" in body:
            raise ValueError(body["raise"])
        if "error" in body:
            yield {"error": json.dumps({"error": {"code": body["error"]}})}
        if "bytes" in body:
            yield "x" * body["bytes"]
        if "object_bytes" in body:
            yield {"text": "x" * body["object_bytes"]}
        if "report" in body:
            yield {"running": running, "most": most}
    except asyncio.CancelledError:
        print(f"{job['id']} cancelled", flush=True)
        raise
    finally:
        running -= 1


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--drain", type=float, default=30)
    options = parser.parse_args()
    loop.TOO_MANY_REQUESTS_WAIT_S = 0.1
    set_pdeathsig_on_fork(close_sockets=True)
    sdk.set_log_level("info")
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    scaler = EventDrivenScaler(handle, PLACES)
    sdk.start_heartbeat(PLACES)
    jobs = asyncio.create_task(scaler.run())
    await stop.wait()
    print("drains", flush=True)
    scaler.kill_worker()
    await finish_jobs(scaler, jobs, options.drain)


uvloop.run(main())
