"""A script about vLLM, run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys


def run_probe(script: str, failure: str) -> dict[str, object]:
    """Run a script and return the JSON object that its last line prints.

    Args:
        script: Python source.
        failure: What it means if the script fails.
    """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{failure}:\n{done.stderr[-2000:]}"
    return dict(json.loads(done.stdout.splitlines()[-1]))
