"""The page of `worker tune` in Chromium, with measurements that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from typer.testing import CliRunner

from tests.support.browser import find_barriers, launch_browser
from tests.tools.tune.test_choice import measure
from worker.profile.pools import find_pool
from worker_tools.cli import app
from worker_tools.tune.choice import Rent, Targets
from worker_tools.tune.report import Report, deploy_options, describe_missed, write_page

COUNTS = (1, 2, 4, 8, 16, 32, 64)
TITLES = [
    "Throughput, tokens/s out",
    "Throughput against the time of a whole answer",
    "First token, ms",
    "Time per token, ms",
    "Price of a million tokens",
]


def make_report(folder: Path, *, gpu: str | None = "H100", counts=COUNTS, **options) -> Report:
    return Report(
        targets=Targets(token_ms=8.0),
        page=folder / "tune.html",
        points=[measure(count) for count in counts],
        endpoint="http://127.0.0.1:8000",
        model="</script><b>own</b>/model",
        workload="400 random tokens in, 100 out",
        rent=None if gpu is None else Rent(find_pool(gpu), 1),
        warnings=["measure one worker"],
        **options,
    )


async def open_page(page: Page, report: Report) -> list[str]:
    """Open the page from the disk; return what goes wrong in it."""
    write_page(report)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.on("request", lambda sent: problems.append(sent.url) if sent.url[:5] != "file:" else None)
    await page.goto(report.page.as_uri())
    return problems


@pytest.mark.browser
async def test_page_in_both_schemes_and_widths(tmp_path):
    async with launch_browser() as browser:
        for scheme in ("light", "dark"):
            for width in (1280, 390):
                page = await browser.new_page(
                    viewport={"width": width, "height": 800}, color_scheme=scheme
                )
                problems = await open_page(page, make_report(tmp_path))
                await expect(page.locator("#plots h2")).to_have_text(TITLES)
                await expect(page.locator("#plots canvas")).to_have_count(5)
                await expect(page.locator(".choices section")).to_have_count(3)
                await expect(page.locator(".scroll tbody tr")).to_have_count(len(COUNTS))
                await expect(page.locator("h1")).to_have_text("</script><b>own</b>/model")
                assert await page.evaluate("document.documentElement.scrollWidth") <= width
                assert await find_barriers(page) == []
                assert problems == []
                await page.close()


@pytest.mark.browser
async def test_plots_follow_the_colour_scheme_and_the_width(tmp_path):
    async with launch_browser() as browser:
        page = await browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="light")
        problems = await open_page(page, make_report(tmp_path))
        first = page.locator("#plots canvas").first
        narrow = await first.evaluate("canvas => canvas.clientWidth")
        await page.set_viewport_size({"width": 620, "height": 800})
        await page.wait_for_function(
            "least => document.querySelector('#plots canvas').clientWidth > least", arg=narrow
        )
        light = await first.evaluate("canvas => canvas.toDataURL()")
        await page.emulate_media(color_scheme="dark")
        await page.wait_for_function(
            "old => document.querySelector('#plots canvas').toDataURL() !== old", arg=light
        )
        await expect(page.locator("#plots canvas")).to_have_count(5)
        assert problems == []


@pytest.mark.browser
async def test_copy_button(tmp_path):
    async with launch_browser() as browser:
        context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
        page = await context.new_page()
        await open_page(page, make_report(tmp_path))
        await page.locator("[data-copy=env-target]").click()
        await expect(page.locator("[data-copy=env-target]")).to_have_text("Copied")
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert copied == "MAX_NUM_SEQS=16\nMAX_CONCURRENCY=16"


@pytest.mark.browser
@pytest.mark.parametrize("counts", [(4,), (4, 8)])
async def test_page_of_few_measurements_without_a_price(tmp_path, counts):
    async with launch_browser() as browser:
        page = await browser.new_page()
        problems = await open_page(page, make_report(tmp_path, gpu=None, counts=counts))
        await expect(page.locator("#plots canvas")).to_have_count(4)
        await expect(page.get_by_text("Prices: not known; name the GPU by --gpu")).to_be_visible()
        assert problems == []


def test_missed_target_names_the_best_measurement(tmp_path):
    text = describe_missed(make_report(tmp_path))
    assert text.startswith(
        "No load keeps the target (at most 8 ms per token): 1 at once, the first"
    )


def test_options_are_those_of_worker_deploy(tmp_path):
    options = deploy_options(make_report(tmp_path).choices[0])
    command = ["deploy", "qwen3-8b", "--image", "you/worker:1.0", *options.split(), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert '"requestCount": 16' in done.output
    assert '"MAX_NUM_SEQS": "16"' in done.output
