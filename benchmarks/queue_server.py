"""A local endpoint with another worker than `worker dev` runs.

Run as `python -m benchmarks.queue_server RTT_MS COMMAND…`, with the port in the variable `PORT`.
"""

from __future__ import annotations

import os
import sys

import uvloop

from worker_tools.dev import LocalDeployment
from worker_tools.dev.command import run_until_exit


async def serve(rtt_ms: float, command: list[str], port: int) -> int:
    """Run endpoint and worker until the worker ends."""
    environ = {name: value for name, value in os.environ.items() if name != "PORT"}
    deployment = LocalDeployment(environ=environ, port=port, rtt_ms=rtt_ms)
    deployment.command = command
    async with deployment:
        return await run_until_exit(deployment)


if __name__ == "__main__":
    rtt, *worker = sys.argv[1:]
    sys.exit(uvloop.run(serve(float(rtt), worker, int(os.environ["PORT"]))))
