"""Fetch the vendored front-end files from the npm registry; each is pinned by version and hash.

    .venv/bin/python scripts/vendor.py            # checks the files that are here
    .venv/bin/python scripts/vendor.py --update   # takes the newest releases and pins them

`vendor.json` next to the files has the version, licence and SHA-256 of each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = "vendor.json"

PACKAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "uplot": (
        "tools/worker_tools/dev/web/static/vendor/uplot",
        ("dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE"),
    ),
    "axe-core": ("tests/vendor/axe-core", ("axe.min.js", "LICENSE")),
}
"""Package -> the folder of its files, and which files of the package are needed."""


def fetch(package: str, target: Path) -> dict[str, Any]:
    """Unpack the newest release of a package into `target`; return its `package.json`.

    npm checks the archive against the registry's hash.
    """
    command = ["npm", "pack", package, "--silent", "--pack-destination", str(target)]
    packed = subprocess.run(command, check=True, capture_output=True, text=True)
    with tarfile.open(target / packed.stdout.split()[-1]) as archive:
        archive.extractall(target, filter="data")
    loaded: dict[str, Any] = json.loads((target / "package/package.json").read_text())
    return loaded


def update(package: str) -> None:
    """Replace the files of a package by those of its newest release, and pin them."""
    folder, names = PACKAGES[package]
    home = ROOT / folder
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        about = fetch(package, Path(temporary))
        hashes = {}
        for name in names:
            body = Path(temporary, "package", name).read_bytes()
            file = home / Path(name).name
            file.write_bytes(body)
            hashes[file.name] = hashlib.sha256(body).hexdigest()
    pinned = {
        "package": package,
        "version": about["version"],
        "license": about["license"],
        "sha256": hashes,
    }
    (home / MANIFEST).write_text(json.dumps(pinned, indent=2) + "\n")
    print(f"{package} {about['version']}, {about['license']}: {folder}")


def find_changed(package: str) -> list[str]:
    """Return the files of a package that are not as pinned."""
    home = ROOT / PACKAGES[package][0]
    pinned = json.loads((home / MANIFEST).read_text())["sha256"]
    return [
        str(home / name)
        for name, digest in pinned.items()
        if not (home / name).is_file()
        or hashlib.sha256((home / name).read_bytes()).hexdigest() != digest
    ]


def main() -> int:
    """Check or update all packages; 1 if a file is not as pinned."""
    parser = argparse.ArgumentParser(description="Front-end files from the npm registry.")
    parser.add_argument("--update", action="store_true", help="take and pin the newest releases")
    if parser.parse_args().update:
        for package in PACKAGES:
            update(package)
        return 0
    changed = [name for package in PACKAGES for name in find_changed(package)]
    for name in changed:
        print(f"{name} is not as pinned; run scripts/vendor.py --update", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
