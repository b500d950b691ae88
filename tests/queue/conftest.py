"""Import the SDK once and without its look at the processor, which takes longer than all tests."""

import sys
import types

if "runpod" not in sys.modules:
    stub = types.ModuleType("cpuinfo")
    stub.get_cpu_info = lambda: {"brand_raw": "not looked at"}
    genuine = sys.modules.get("cpuinfo")
    sys.modules["cpuinfo"] = stub
    import worker.queue  # noqa: F401

    del sys.modules["cpuinfo"]
    if genuine is not None:
        sys.modules["cpuinfo"] = genuine
