"""Import the SDK once, without its detection of the processor, which takes longer than all tests.

The fixture `queue` is a local endpoint with one worker, shared by a module's tests.
"""

import sys
import types
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

if "runpod" not in sys.modules:
    stub = types.ModuleType("cpuinfo")
    vars(stub)["get_cpu_info"] = lambda: {"brand_raw": "not looked at"}
    genuine = sys.modules.get("cpuinfo")
    sys.modules["cpuinfo"] = stub
    import worker.queue  # noqa: F401

    del sys.modules["cpuinfo"]
    if genuine is not None:
        sys.modules["cpuinfo"] = genuine

from tests.support.queue_deployment import Queue, deploy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def event_driven() -> AsyncIterator[Queue]:
    async with deploy() as queue:
        yield queue


@pytest.fixture
def queue(event_driven: Queue) -> Iterator[Queue]:
    yield event_driven
    event_driven.endpoint.faults.clear()
