"""Buildah, as root and without a daemon: builds images and runs commands in containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
}
"""Programs that the suite needs, and the Debian package of each."""


def find_obstacle() -> str | None:
    """Install what is missing; return why that is impossible, None if all is there."""
    if os.geteuid() != 0:
        return "buildah needs root here"
    missing = sorted({PROGRAMS[name] for name in PROGRAMS if shutil.which(name) is None})
    if not missing:
        return None
    if shutil.which("apt-get") is None:
        return f"{', '.join(missing)} not installed, and this system has no apt-get"
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    for command in (["apt-get", "update"], install):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"`{' '.join(command)}` failed: {done.stderr.strip()[-300:]}"
    return None


@dataclass(frozen=True)
class Layer:
    """A layer of an image.

    Attributes:
        digest: Of its uncompressed content.
        size: Of that, bytes.
        made_by: The Dockerfile's line.
    """

    digest: str
    size: int
    made_by: str


@dataclass(frozen=True)
class Buildah:
    """Images and containers in a folder of their own.

    Attributes:
        folder: Where they are kept.
        logs: Folder for the output of builds.
    """

    folder: Path
    logs: Path

    def command(self, *words: str | Path) -> list[str]:
        """Return the command line of one of buildah's commands."""
        places = ["--root", self.folder / "storage", "--runroot", self.folder / "run"]
        options = ["--storage-driver", "overlay"]
        return ["buildah", *map(str, places), *options, *map(str, words)]

    def ask(self, *words: str | Path) -> str:
        """Run one of its commands and return what it prints.

        Raises:
            RuntimeError: When it fails.
        """
        done = subprocess.run(
            self.command(*words), env=environment(), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            shown = " ".join(map(str, words[:2]))
            raise RuntimeError(f"buildah {shown} failed: {done.stderr.strip()[-2000:]}")
        return done.stdout.strip()

    def clear(self) -> None:
        """Remove every image and container, at once; `rmi --all` takes minutes."""
        storage = self.folder / "storage"
        subprocess.run(["umount", "--lazy", storage / "overlay"], capture_output=True, check=False)
        shutil.rmtree(storage, ignore_errors=True)

    def has(self, image: str) -> bool:
        """Return whether there is an image of that name."""
        names = json.loads(self.ask("images", "--json"))
        return any(image in (entry.get("names") or ()) for entry in names)

    def build(self, image: str, context: Path, *options: str | Path) -> None:
        """Build a folder's Dockerfile; what it prints goes to a log.

        Raises:
            RuntimeError: With the log's end, when the build fails.
        """
        log = self.logs / f"{image.rpartition('/')[2].replace(':', '-')}.log"
        command = self.command(
            "build", "--layers", "--format", "docker", "--tag", image, *options, context
        )
        with log.open("wb") as file:
            done = subprocess.run(
                command, env=environment(), stdout=file, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode != 0:
            raise RuntimeError(f"the build failed; {log} ends:\n{log.read_text()[-3000:]}")

    def inspect(self, image: str) -> dict[str, Any]:
        """Return the image's configuration."""
        return dict(json.loads(self.ask("inspect", "--type", "image", image)))

    def layers(self, image: str) -> list[Layer]:
        """Return the image's layers, the base's first."""
        stored = json.loads((self.folder / "storage/overlay-layers/layers.json").read_bytes())
        sizes = {
            layer["diff-digest"]: layer["diff-size"] for layer in stored if "diff-size" in layer
        }
        described = self.inspect(image)["OCIv1"]
        made = [
            entry["created_by"] for entry in described["history"] if not entry.get("empty_layer")
        ]
        digests = described["rootfs"]["diff_ids"]
        return [Layer(d, sizes[d], line) for d, line in zip(digests, made, strict=True)]


@dataclass(frozen=True)
class Container:
    """A container made of an image.

    Attributes:
        buildah: Where it is.
        name: How buildah calls it.
        options: Of every command in it: variables, mounts, the user.
    """

    buildah: Buildah
    name: str
    options: tuple[str, ...]

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs a command in the container."""
        return self.buildah.command("run", *self.options, self.name, "--", *words)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container to its end."""
        return subprocess.run(
            self.command(*words), env=environment(), capture_output=True, text=True, check=False
        )


@contextmanager
def make_container(
    buildah: Buildah,
    image: str,
    *,
    environ: Mapping[str, str] | None = None,
    mounts: Sequence[str] = (),
    user: str | None = None,
) -> Iterator[Container]:
    """Yield a container of the image and remove it afterwards."""
    options = [word for item in (environ or {}).items() for word in ("--env", "=".join(item))]
    options += [word for mount in mounts for word in ("--volume", mount)]
    options += ["--user", user] if user else []
    name = buildah.ask("from", image)
    try:
        yield Container(buildah, name, tuple(options))
    finally:
        buildah.ask("rm", name)


def environment() -> dict[str, str]:
    """Return the environment in which buildah needs no daemon and no namespaces."""
    return {**os.environ, "BUILDAH_ISOLATION": "chroot"}
