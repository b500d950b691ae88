"""The queue worker on a frail network: no name resolves while the file OUTAGE is there.

Its limits are short; no test waits for the real ones.
"""

import os
import runpy
import socket
import sys
import types
from pathlib import Path

# As in `queue_worker.py`.
sys.modules["cpuinfo"] = types.ModuleType("cpuinfo")
vars(sys.modules["cpuinfo"])["get_cpu_info"] = lambda: {"brand_raw": "not looked at"}

import aiohttp  # noqa: E402

from worker.queue import job_runner, loop  # noqa: E402

OUTAGE = Path(os.environ["OUTAGE"])


def check():
    if OUTAGE.exists():
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def frail(function):
    def resolve(*args, **options):
        check()
        return function(*args, **options)

    return resolve


# What the SDK's session asks, and what its heartbeat asks.
aiohttp.TCPConnector._resolve_host = frail(aiohttp.TCPConnector._resolve_host)
socket.getaddrinfo = frail(socket.getaddrinfo)
job_runner.SOCKET_TIMEOUT_S = 1.0
loop.CLOCK_POLL_S = 0.2
loop.FREEZE_S = 1.0

runpy.run_path(str(Path(__file__).parent / "queue_worker.py"), run_name="__main__")
