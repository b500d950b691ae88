"""Look up known vulnerabilities of every locked package: `make audit`.

Uses pip-audit in an environment of its own: its dependencies are not part of this project. Where
the advisories cannot be reached (a mirror without them, no network), it says so and passes: a build
must not fail because another server is unreachable.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
import venv
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements" / "cpu.lock"
TOOL = "pip-audit==2.10.1"
SOURCE = "https://pypi.org/pypi/pip/25.0/json"
"""Any released version will do: an answer without advisories shows that a source has none."""
TIMEOUT_S = 10.0


def read_source() -> bytes:
    """Return the response of the source of advisories for one package."""
    with urllib.request.urlopen(SOURCE, timeout=TIMEOUT_S) as response:
        return bytes(response.read())


def find_obstacle(read: Callable[[], bytes] = read_source) -> str | None:
    """Return why advisories cannot be looked up; None if they can."""
    try:
        known = json.loads(read())
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    if not isinstance(known, dict) or "vulnerabilities" not in known:
        return "the package index answers without advisories"
    return None


def audit(lock: Path) -> int:
    """Run pip-audit on a lock; return its exit status, 0 if nothing is known against it."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", TOOL], check=True)
        command = [python, "-m", "pip_audit", "--requirement", lock, "--no-deps", "--disable-pip"]
        return subprocess.run(command, check=False).returncode


def main() -> int:
    """Run the audit, or print why it cannot run."""
    if (obstacle := find_obstacle()) is not None:
        print(f"audit skipped: {SOURCE} is out of reach ({obstacle})")
        return 0
    return audit(LOCK)


if __name__ == "__main__":
    sys.exit(main())
