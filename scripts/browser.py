"""Install Chromium for the tests with pages in a browser, from the distribution or from Playwright.

    .venv/bin/python scripts/browser.py

Also exits with 0 where neither is available: the test then reports that it was skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")
APT = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300"]


def list_attempts() -> list[list[list[str]]]:
    """Return the ways to install a browser on this machine, each as its commands."""
    attempts = []
    if shutil.which("apt-get") and os.geteuid() == 0:
        install = [*APT, "install", "--yes", "--no-install-recommends", "chromium"]
        attempts.append([[*APT, "update"], install])
    attempts.append([[sys.executable, "-m", "playwright", "install", "chromium"]])
    return attempts


def main() -> int:
    """Install a browser if none is installed; always return 0."""
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        print(f"{found} is installed")
        return 0
    for commands in list_attempts():
        if all(subprocess.run(command, check=False).returncode == 0 for command in commands):
            return 0
    print("WARNING: no Chromium can be installed here; the tests with pages will be skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
