"""Chromium for the tests with pages, and what they check on each page."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright, expect

NAMES = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(__file__).parents[1] / "vendor/axe-core/axe.min.js"

SCREENSHOTS = os.environ.get("SCREENSHOTS")
"""Folder that gets the pictures of the documentation; unset keeps none."""

EXPECT_TIMEOUT_MS = 30_000
"""How long a test waits for what a page should show; two engines at a time are slow."""

MOST_BYTES = 150_000
"""Size of a picture in the documentation."""


@contextlib.asynccontextmanager
async def launch_browser() -> AsyncIterator[Browser]:
    """Start Chromium; skip the test if there is none."""
    expect.set_options(timeout=EXPECT_TIMEOUT_MS)
    async with async_playwright() as playwright:
        found = next(filter(None, map(shutil.which, NAMES)), playwright.chromium.executable_path)
        if not os.path.exists(found):
            pytest.skip("NO BROWSER: `make browser` installs Chromium")
        browser = await playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


async def find_barriers(page: Page) -> list[str]:
    """Return what axe-core finds wrong on a page, from minor to critical."""
    await page.evaluate(AXE.read_text())
    found: Any = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{item['impact']} {item['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
        for item in found["violations"]
        for node in item["nodes"]
    ]


async def take_picture(page: Page, name: str) -> None:
    """Take a picture for the documentation, in 256 colours, if its folder is set."""
    if not SCREENSHOTS:
        return
    picture = await page.screenshot(animations="disabled", caret="hide")
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    small = image.quantize(colors=256, dither=Image.Dither.NONE)
    packed = io.BytesIO()
    small.save(packed, "PNG", optimize=True)
    assert len(packed.getvalue()) <= MOST_BYTES, name
    Path(SCREENSHOTS, f"{name}.png").write_bytes(packed.getvalue())
