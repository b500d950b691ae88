"""The console page in a real browser over the real worker: ask, cancel, fail, change, restart.

With SCREENSHOTS=docs/images the pictures of the documentation are written.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.e2e.support.deployment import MODEL, READY_TIMEOUT_S, TEXT, make_environ
from tests.e2e.support.effects.answer import STRICT
from tests.support.browser import find_barriers, launch_browser, take_picture
from worker_tools.dev import LocalDeployment
from worker_tools.dev.web import Console
from worker_tools.dev.web.output_log import OutputLog

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

SETTINGS = {"ENABLE_AUTO_TOOL_CHOICE": "true", "TOOL_CALL_PARSER": "hermes", "MAX_NUM_SEQS": "8"}
WAIT_MS = READY_TIMEOUT_S * 1000
CHOICE = json.dumps({"choice": [TEXT]})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launch_browser() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(browser: Browser, tiny_model: Path) -> AsyncIterator[LocalDeployment]:
    log = OutputLog()
    deployment = LocalDeployment(environ=make_environ(tiny_model, **SETTINGS), on_output=log.add)
    deployment.defaults = {**deployment.defaults, "WORKER_LOG_FORMAT": "json"}
    async with Console(deployment, log), deployment:
        yield deployment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(browser: Browser, deployment: LocalDeployment) -> AsyncIterator[Page]:
    context = await browser.new_context(
        viewport={"width": 1440, "height": 900},
        permissions=["clipboard-read", "clipboard-write"],
    )
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    await page.goto(f"{deployment.endpoint.page_url}#/start")
    await expect(page.locator("#state")).to_have_text("Ready", timeout=WAIT_MS)
    yield page
    await context.close()
    assert problems == []


async def open_playground(page: Page, deployment: LocalDeployment, kind: str = "chat") -> None:
    # Another document each time: no draft is left.
    await page.goto("about:blank")
    await page.goto(f"{deployment.endpoint.page_url}#/playground/{kind}")
    await expect(page.locator("#state")).to_have_text("Ready", timeout=WAIT_MS)
    await expect(page.locator(".composer")).to_be_visible()


async def set_parameter(page: Page, path: str, value: str) -> None:
    field = page.locator(f'[data-path="{path}"]')
    if not await field.is_visible():
        await page.locator(".more summary").click()
    await field.fill(value)


async def test_start_shows_the_phases_and_the_output(page: Page) -> None:
    await expect(page.get_by_role("img", name="Phases")).to_be_visible()
    await expect(page.locator("svg.bars")).to_contain_text("importing vLLM")
    await expect(page.get_by_text("Ready after")).to_be_visible()
    await expect(page.get_by_role("log")).to_contain_text("ready: up to")


async def test_chat_streams_and_the_job_has_figures(
    page: Page, deployment: LocalDeployment
) -> None:
    await open_playground(page, deployment)
    await set_parameter(page, "structured_outputs", CHOICE)
    await set_parameter(page, "max_tokens", "200")
    await page.get_by_label("Message", exact=True).fill("Say something.")
    await page.get_by_role("button", name="Send").click()
    turn = page.locator(".turn.assistant")
    await expect(turn.locator(".choice > .text")).to_have_text(TEXT)
    await expect(turn.locator(".facts")).to_contain_text("tokens/s")
    await expect(turn.locator(".facts")).to_contain_text("ended by stop")
    await turn.get_by_role("link", name="Timeline").click()
    await expect(page.get_by_role("img", name="Timeline")).to_be_visible()
    figures = page.locator(".figures")
    await expect(figures).to_contain_text("Tokens out")
    await expect(figures).to_contain_text(MODEL)
    await page.get_by_text("Log lines").click()
    await expect(page.locator(".lines")).to_contain_text("tokens out")


async def test_stream_arrives_before_its_end_and_is_cancelled(
    page: Page, deployment: LocalDeployment
) -> None:
    await open_playground(page, deployment)
    await page.locator(".more summary").click()
    await page.locator('[data-path="ignore_eos"]').select_option("true")
    await set_parameter(page, "max_tokens", "1900")
    await set_parameter(page, "n", "8")
    await page.get_by_label("Message", exact=True).fill("Continue.")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".choice > .text").first).not_to_be_empty()
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator(".turn .facts")).to_contain_text("cancelled")
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    assert [job.status for job in deployment.endpoint.jobs.values()][-1] == "CANCELLED"


@pytest.mark.parametrize(
    ("kind", "path", "value", "named", "said"),
    [
        pytest.param(
            "native",
            "sampling_params.temperature",
            "7",
            "sampling_params.temperature",
            "2",
            id="native",
        ),
        pytest.param("chat", "temperature", "-1", "temperature", "temperature", id="chat"),
        pytest.param("chat", "top_logprobs", "5000", "logprobs", "5000", id="other"),
    ],
)
async def test_error_is_shown_next_to_the_parameter(
    page: Page, deployment: LocalDeployment, kind: str, path: str, value: str, named: str, said: str
) -> None:
    await open_playground(page, deployment, kind)
    label = "Message" if kind == "chat" else "Prompt"
    await page.get_by_label(label, exact=True).fill("Hello")
    await set_parameter(page, path, value)
    if path == "top_logprobs":
        await page.locator('[data-path="logprobs"]').select_option("true")
    await page.get_by_role("button", name="Send").click()
    field = page.locator(".field", has=page.locator(f'[data-path="{named}"]'))
    await expect(field.locator(".error")).to_contain_text(said)
    await expect(page.locator(f'[data-path="{named}"]')).to_have_attribute("aria-invalid", "true")
    await expect(page.locator(".turn .problem")).to_contain_text("invalid")


async def test_native_and_completion_answer(page: Page, deployment: LocalDeployment) -> None:
    for kind, path in (("native", "sampling_params."), ("completion", "")):
        await open_playground(page, deployment, kind)
        await set_parameter(page, f"{path}structured_outputs", CHOICE)
        await set_parameter(page, f"{path}max_tokens", "200")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".choice > .text")).to_have_text(TEXT)


async def test_only_what_the_model_has_is_offered(page: Page, deployment: LocalDeployment) -> None:
    await open_playground(page, deployment)
    kinds = page.locator(".segments").first.locator("label")
    await expect(kinds).to_have_text(["Chat", "Completion", "Native", "JSON"])
    await expect(page.get_by_text("Add images")).to_be_hidden()


async def test_tool_call_is_shown_apart(page: Page, deployment: LocalDeployment) -> None:
    await open_playground(page, deployment)
    await set_parameter(page, "tools", json.dumps(STRICT))
    named = {"type": "function", "function": {"name": "map"}}
    await set_parameter(page, "tool_choice", json.dumps(named))
    await set_parameter(page, "max_tokens", "600")
    await page.get_by_label("Message", exact=True).fill("What time is it?")
    await page.get_by_role("button", name="Send").click()
    tool_call = page.locator(".tool")
    await expect(tool_call).to_contain_text("Tool call: map")
    await expect(tool_call).to_contain_text('"at": 7')


async def run_code(language: str, code: str, folder: Path) -> str:
    commands = {
        "curl": ["bash", "-c", code],
        "openai": [sys.executable, "-c", code],
        "runpod": [sys.executable, "-c", code],
        "javascript": ["node", "--input-type=module", "-e", code],
    }
    done = await asyncio.to_thread(
        subprocess.run, commands[language], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


LANGUAGES = {"curl": "curl", "Python, openai": "openai", "Python, runpod": "runpod"}


async def test_copied_code_gets_the_same_answer(
    page: Page, deployment: LocalDeployment, tmp_path: Path
) -> None:
    await open_playground(page, deployment)
    await set_parameter(page, "structured_outputs", json.dumps({"choice": ["plain words"]}))
    await page.get_by_label("Message", exact=True).fill("""It's "quoted", $HOME and `x`""")
    await page.get_by_label("Stream the answer").uncheck()
    await page.get_by_role("button", name="Copy as").click()
    found = {**LANGUAGES, **({"JavaScript": "javascript"} if shutil.which("node") else {})}
    for label, language in found.items():
        await page.get_by_role("dialog").get_by_text(label, exact=True).click()
        code = page.get_by_label("Code")
        await expect(code).to_contain_text(
            {"curl": "curl", "javascript": "fetch"}.get(language, "import")
        )
        await page.get_by_role("button", name="Copy", exact=True).click()
        copied = await page.evaluate("navigator.clipboard.readText()")
        assert "plain words" in await run_code(language, copied, tmp_path), language
    await page.get_by_role("button", name="Close").click()


async def test_engine_shows_samples(page: Page, deployment: LocalDeployment) -> None:
    await page.goto(f"{deployment.endpoint.page_url}#/engine")
    await expect(page.get_by_role("region", name="Tokens per second")).to_contain_text("Generated")
    await expect(page.locator(".values strong").first).to_have_text("0", timeout=20_000)
    await expect(page.locator(".plot canvas")).to_have_count(4)


async def test_wrong_setting_is_refused_at_once(page: Page, deployment: LocalDeployment) -> None:
    await page.goto(f"{deployment.endpoint.page_url}#/configuration")
    field = page.get_by_label("Max sequences")
    await expect(field).to_have_value("8")
    await field.fill("-3")
    await expect(page.get_by_text("1 problem; the worker would not start.")).to_be_visible()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_role("button", name="Restart with these")).to_be_disabled()
    await page.get_by_role("button", name="Undo the changes").click()
    await expect(field).to_have_value("8")


async def restart_with(page: Page, url: str, label: str, value: str) -> None:
    await page.goto(f"{url}#/configuration")
    field = page.get_by_label(label)
    if not await field.is_visible():
        await page.get_by_text("advanced settings").click()
    if await field.evaluate("field => field.tagName") == "SELECT":
        await field.select_option(value)
    else:
        await field.fill(value)
    await expect(page.get_by_text("1 changed; the worker would start.")).to_be_visible()
    await page.get_by_role("button", name="Restart with these").click()
    await expect(page.locator("#state")).to_have_text(re.compile("Restarting|Starting"))


async def test_restart_that_vllm_refuses_shows_why_and_is_repaired(
    page: Page, deployment: LocalDeployment
) -> None:
    url, old = deployment.endpoint.page_url, deployment.processes[0].pid
    await restart_with(page, url, "Load format LOAD_FORMAT", "safetensors")
    await expect(page.locator("#state")).to_have_text("Failed", timeout=WAIT_MS)
    await expect(page.get_by_role("alert")).to_contain_text("worker-1 ended with status 3")
    await expect(page.get_by_role("log")).to_contain_text("Cannot find any model weights")
    await restart_with(page, url, "Load format LOAD_FORMAT", "dummy")
    await expect(page.locator("#state")).to_have_text("Ready", timeout=WAIT_MS)
    assert deployment.processes[0].pid != old
    await expect(page.get_by_text("Ready after")).to_be_visible()
    await open_playground(page, deployment, "completion")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".turn .facts")).to_contain_text("tokens/s")


SIZES: Any = {"wide": {"width": 1440, "height": 900}, "narrow": {"width": 390, "height": 844}}
VIEWS = ("playground", "jobs", "job", "start", "engine")
DRAWN_MS = 300
"""Until the plots have the new width and colours."""

SAID = "Each chunk of this answer was shown on the page as soon as the worker had posted it."


async def show_view(page: Page, deployment: LocalDeployment, view: str) -> None:
    """Open a view as a user sees it after a while."""
    url = deployment.endpoint.page_url
    await page.goto(f"{url}#/{'jobs' if view == 'job' else view}")
    if view == "job":
        await page.locator(".jobs-table a").first.click()
        await expect(page.get_by_role("img", name="Timeline")).to_be_visible()
    if view == "playground":
        await open_playground(page, deployment)
        await page.get_by_label("Message", exact=True).fill("What do you say?")
        await page.locator('[data-path="structured_outputs"]').evaluate(
            "(field, value) => { field.value = value; }", json.dumps({"choice": [SAID]})
        )
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".turn .facts")).to_contain_text("tokens/s")
        await page.evaluate("window.scrollTo(0, 0)")
    if view == "start":
        await expect(page.locator("svg.bars")).to_be_visible()


@pytest.mark.parametrize("view", VIEWS)
async def test_view_has_no_barrier_in_any_size_and_scheme(
    page: Page, deployment: LocalDeployment, view: str
) -> None:
    schemes: Any = ("light", "dark")
    await show_view(page, deployment, view)
    for size, viewport in SIZES.items():
        await page.set_viewport_size(viewport)
        for scheme in schemes:
            await page.emulate_media(color_scheme=scheme)
            await page.wait_for_timeout(DRAWN_MS)
            await take_picture(page, f"console-{view}-{scheme}-{size}")
            assert await find_barriers(page) == [], (size, scheme)
