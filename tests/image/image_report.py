"""Times and sizes that are printed at the end of the run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.image.buildah import Buildah

report: list[str] = []
"""Lines for the end of the run: times and sizes."""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Note how long something took."""
    started = time.monotonic()
    yield
    report.append(f"{time.monotonic() - started:6.1f} s  {what}")


def report_layers(buildah: Buildah, image: str) -> None:
    """Note the size of every layer."""
    report.append(f"layers of {image}:")
    for layer in buildah.layers(image):
        line = layer.made_by.removeprefix("/bin/sh -c ").removeprefix("#(nop) ")
        report.append(f"{layer.size / 1e6:10.2f} MB  {layer.digest[7:19]}  {line[:70]}")
