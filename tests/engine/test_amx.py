import ctypes
import platform
import re
from pathlib import Path

import pytest

from worker.engine import amx


def test_permit_amx_is_never_granted_without_the_processors_part():
    flags = re.findall(r"^flags\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    has_amx = any("amx_tile" in line.split() for line in flags)
    # Where the processor has it, an old kernel or a sandbox may still refuse.
    assert amx.permit_amx() <= has_amx


def test_permit_amx_twice_gives_the_same_answer():
    assert amx.permit_amx() is amx.permit_amx()


@pytest.mark.parametrize("machine", ["aarch64", "riscv64", ""])
def test_permit_amx_on_another_architecture_makes_no_system_call(monkeypatch, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert amx.permit_amx() is False
