"""The console page in a real browser, over jobs that the test makes; no engine is needed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, ConsoleMessage, FilePayload, Page, expect

from tests.support.browser import find_barriers, launch_browser, take_picture
from worker_tools.dev import LocalDeployment
from worker_tools.dev.job import Job, JobRequest
from worker_tools.dev.store import JobStore
from worker_tools.dev.web import Console
from worker_tools.dev.web.output_log import OutputLog

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

ENVIRON = {"MODEL_NAME": "Qwen/Qwen3-8B", "PATH": os.environ["PATH"]}
WORKER = "worker-1"
HOSTILE = '</script><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>&lt;b&gt;'
VIEWS = ("playground", "jobs", "configuration", "start", "engine")
WIDTHS = (360, 390, 768, 1440, 1920)


class Site:
    """A console without workers, and a page on it; the test plays the worker."""

    def __init__(self, console: Console, page: Page) -> None:
        self.log = console.log
        self.feed = console.feed
        self.deployment = deployment = console.deployment
        self.page = page
        self.url = deployment.endpoint.page_url
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "ERR_" not in message.text:
            self.problems.append(message.text)

    @property
    def store(self) -> JobStore:
        return self.deployment.endpoint.store

    async def open(self, view: str) -> None:
        await self.page.goto(f"{self.url}#/{view}")
        await expect(self.page.locator("#state")).to_have_text("Ready")
        await expect(self.page.locator(f".view.{view.partition('/')[0]} h1")).to_be_attached()

    async def run_jobs(self, count: int, text: str = "Hello") -> list[str]:
        """Let `count` jobs be submitted, taken, streamed and ended."""
        ids = []
        for number in range(count):
            body = {"prompt": text, "stream": True, "sampling_params": {"max_tokens": number}}
            job = self.store.submit(JobRequest(body, False, 600_000, 600_000, 600.0, size_bytes=90))
            await self.store.take(WORKER, 1)
            chunk = {"choices": [{"tokens": [text]}], "usage": {"input": 3, "output": 5}}
            for _ in range(3):
                self.store.add_chunk(WORKER, job.id, [chunk], 120)
            failed = {"error": '{"error": {"code": "invalid_parameter", "message": "no"}}'}
            done = failed if number % 10 == 9 else {"output": [chunk]}
            self.store.finish(WORKER, job.id, done, 300)
            ids.append(job.id)
        return ids


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with launch_browser() as browser:
        yield browser


@contextlib.asynccontextmanager
async def serve(port: int = 0) -> AsyncIterator[Console]:
    deployment = LocalDeployment(environ=ENVIRON, workers=0, port=port)
    console = Console(deployment, OutputLog())
    async with console, deployment:
        yield console


@pytest_asyncio.fixture(loop_scope="module")
async def site(browser: Browser) -> AsyncIterator[Site]:
    async with serve() as console:
        context = await browser.new_context(viewport={"width": 1440, "height": 900})
        page = await context.new_page()
        opened = Site(console, page)
        yield opened
        await context.close()
    assert opened.problems == []


async def test_thousand_jobs_are_listed_and_few_rows_are_made(site: Site) -> None:
    await site.run_jobs(1000)
    await site.open("jobs")
    page = site.page
    await expect(page.get_by_role("status").filter(has_text="1000 jobs")).to_be_visible()
    assert await page.locator(".jobs-table tbody tr").count() <= 200
    await page.get_by_label("State").select_option("FAILED")
    await expect(page.get_by_text("100 of 1000 jobs")).to_be_visible()


async def test_scrolling_shows_all_jobs(site: Site) -> None:
    await site.run_jobs(350)
    await site.open("jobs")
    rows = site.page.locator(".jobs-table tbody tr")
    await expect(rows).not_to_have_count(0)
    async with asyncio.timeout(30):
        while await rows.count() < 350:
            await site.page.mouse.wheel(0, 20_000)
            await asyncio.sleep(0.05)


async def measure_update(site: Site) -> float:
    """Return the seconds that the page works when 50 jobs come."""
    session = await site.page.context.new_cdp_session(site.page)
    await session.send("Performance.enable")

    async def read() -> float:
        metrics = (await session.send("Performance.getMetrics"))["metrics"]
        return next(float(m["value"]) for m in metrics if m["name"] == "TaskDuration")

    count = site.page.locator(".toolbar .hint")
    known = len(site.deployment.endpoint.jobs)
    before = await read()
    await site.run_jobs(50)
    await expect(count).to_contain_text(f"{known + 50} jobs")
    return await read() - before


async def test_cost_of_new_jobs_does_not_grow_with_the_list(site: Site) -> None:
    await site.run_jobs(150)
    await site.open("jobs")
    await expect(site.page.get_by_text("150 jobs")).to_be_visible()
    few = min([await measure_update(site) for _ in range(3)])
    await site.run_jobs(1500)
    await expect(site.page.locator(".toolbar .hint")).to_contain_text("1800 jobs")
    many = min([await measure_update(site) for _ in range(3)])
    assert many < 6 * few + 0.02, f"{few:.3f} s with 150 jobs, {many:.3f} s with 1800"


async def test_job_shows_its_timeline_figures_and_error(site: Site) -> None:
    ids = await site.run_jobs(10)
    await site.open("jobs")
    await site.page.get_by_label("Search").fill(ids[9])
    await site.page.locator(".jobs-table a").click()
    page = site.page
    await expect(page.get_by_role("img", name="Timeline")).to_be_visible()
    assert await page.locator("svg.timeline rect.post").count() == 4
    await expect(page.get_by_role("alert").filter(has_text="invalid_parameter")).to_contain_text(
        "Send a value as the message describes"
    )
    await page.get_by_text("Posts (4)").click()
    await expect(page.get_by_role("table", name="Posts of the worker")).to_be_visible()


async def test_retry_and_resend_with_changes(site: Site) -> None:
    failed = (await site.run_jobs(10))[9]
    await site.open(f"jobs/{failed}")
    await site.page.get_by_role("button", name="Retry").click()
    await expect(site.page.locator(".view .badge").first).to_have_text("In queue")
    await site.page.get_by_role("button", name="Cancel").click()
    await expect(site.page.locator(".view .badge").first).to_have_text("Cancelled")
    await site.page.get_by_role("button", name="Resend with changes").click()
    text = site.page.get_by_label("Input of the job")
    await expect(text).to_have_value(
        '{\n  "prompt": "Hello",\n  "stream": true,\n'
        '  "sampling_params": {\n    "max_tokens": 9\n  }\n}'
    )
    await text.fill('{"prompt": "changed"}')
    await site.page.get_by_role("button", name="Send").click()
    jobs = await site.store.take(WORKER, 1)
    assert jobs[0].request.input == {"prompt": "changed"}


async def test_hostile_text_is_shown_and_never_run(site: Site) -> None:
    job_id = (await site.run_jobs(1, HOSTILE))[0]
    hostile_id = f'../"><img src=x onerror=window.hacked=1>#?%2f{job_id}'
    body = {"openai_route": HOSTILE, "openai_input": {"model": HOSTILE}}
    other = Job(JobRequest(body, False, 600_000, 600_000, 600.0))
    other.id = hostile_id
    site.store.enqueue(other)
    await site.open("jobs")
    page = site.page
    await expect(page.locator(".jobs-table").get_by_text(HOSTILE).first).to_be_visible()
    await page.locator(".jobs-table a", has_text="../").click()
    await expect(page.locator(".job-id")).to_have_text(hostile_id)
    await site.open(f"jobs/{job_id}")
    await expect(page.locator(".choice > .text")).to_have_text(HOSTILE * 3)
    assert await page.evaluate("window.hacked") is None
    assert await page.locator("main img").count() == 0


async def test_text_of_a_model_in_the_playground_is_never_run(site: Site) -> None:
    await site.open("playground/native")
    await site.page.get_by_label("Prompt", exact=True).fill(HOSTILE)
    await site.page.get_by_role("button", name="Send").click()
    (job,) = await site.store.take(WORKER, 1)
    site.store.add_chunk(WORKER, job.id, [{"choices": [{"tokens": [HOSTILE]}]}], 100)
    await expect(site.page.locator(".choice > .text")).to_have_text(HOSTILE)
    site.store.finish(WORKER, job.id, {"error": HOSTILE}, 100)
    await expect(site.page.locator(".turn .problem")).to_contain_text(HOSTILE)
    assert await site.page.evaluate("window.hacked") is None


async def send_and_take(site: Site) -> Job:
    await site.page.get_by_role("button", name="Send").click()
    (job,) = await site.store.take(WORKER, 1)
    return job


def chunk(**delta: Any) -> str:
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n"


async def test_reasoning_is_shown_apart_from_the_answer(site: Site) -> None:
    await site.open("playground")
    await site.page.get_by_text("System prompt").first.click()
    await site.page.get_by_role("textbox", name="System prompt").fill("Be brief.")
    await site.page.get_by_label("Message", exact=True).fill("Why?")
    job = await send_and_take(site)
    roles = [message["role"] for message in job.request.input["openai_input"]["messages"]]
    assert roles == ["system", "user"]
    for reply in (chunk(reasoning="Let me "), chunk(reasoning="think."), chunk(content="Because.")):
        site.store.add_chunk(WORKER, job.id, [reply], len(reply))
    await expect(site.page.locator(".reasoning .text")).to_have_text("Let me think.")
    await expect(site.page.locator(".choice > .text")).to_have_text("Because.")
    site.store.finish(WORKER, job.id, {"output": []}, 20)
    await expect(site.page.get_by_label("Message", exact=True)).to_have_value("")
    await site.page.get_by_label("Message", exact=True).fill("And then?")
    job = await send_and_take(site)
    messages = job.request.input["openai_input"]["messages"]
    assert [message["content"] for message in messages] == [
        "Be brief.",
        "Why?",
        "Because.",
        "And then?",
    ]


async def test_image_is_sent_with_the_message(site: Site) -> None:
    await site.open("playground")
    content = b"not checked here"
    picture = FilePayload(name="a.png", mimeType="image/png", buffer=content)
    await site.page.get_by_label("Add images").set_input_files([picture])
    await expect(site.page.get_by_role("button", name="Remove a.png")).to_be_visible()
    await site.page.get_by_label("Message", exact=True).fill("What is it?")
    job = await send_and_take(site)
    (message,) = job.request.input["openai_input"]["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    encoded = base64.b64encode(content).decode()
    assert message["content"][0]["image_url"]["url"] == f"data:image/png;base64,{encoded}"


async def test_embeddings_are_shown_as_vectors(site: Site) -> None:
    await site.open("playground/embeddings")
    job = await send_and_take(site)
    assert job.request.input["openai_input"]["input"] == ["a quick brown fox", "a fast dark fox"]
    data = [{"embedding": [0.6, 0.8]}, {"embedding": [1.0, 0.0]}]
    site.store.finish(WORKER, job.id, {"output": [{"data": data, "usage": {}}]}, 90)
    await expect(site.page.locator(".vector")).to_have_count(2)
    await expect(site.page.locator(".vector").first).to_contain_text("2 dimensions, length 1.000")


async def test_start_shows_bars_suggestions_and_todays_choice(site: Site) -> None:
    report = {
        "seconds": 30.0,
        "phases": {"importing vLLM": 6.0, "loading the model and warming up": 24.0},
        "vllm_phases": {"torch.compile": 12.0},
        "background": {"prefetch": {"from_s": 1.0, "seconds": 3.0}},
        "suggestions": ["The model was compiled: attach a volume."],
    }
    site.log.add(WORKER, "starting vLLM with tiny")
    site.log.add(WORKER, f"start: {json.dumps(report)}")
    await site.open("start")
    await expect(site.page.locator("svg.bars rect")).to_have_count(4)
    await expect(site.page.locator("svg.bars")).to_contain_text("in parallel: prefetch")
    await expect(site.page.get_by_text("attach a volume").first).to_be_visible()
    await expect(site.page.locator("tr.chosen")).to_contain_text("today's choice")
    await expect(site.page.locator("tr.chosen")).to_have_count(1)


async def test_page_comes_back_after_the_server_went_away(browser: Browser) -> None:
    async with serve() as first:
        endpoint = first.deployment.endpoint
        port, url = endpoint.port, endpoint.page_url
        page = await browser.new_page()
        site = Site(first, page)
        await site.run_jobs(3)
        await site.open("jobs")
        await expect(page.get_by_text("3 jobs")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text("connection to the endpoint is lost")
    await expect(page.locator("#state")).to_have_text("Disconnected")
    async with serve(port) as second:
        assert second.deployment.endpoint.page_url == url
        again = Site(second, page)
        await again.run_jobs(7)
        await expect(page.locator("#state")).to_have_text("Ready", timeout=20_000)
        await expect(page.get_by_role("alert")).to_be_hidden()
        await expect(page.get_by_text("7 jobs")).to_be_visible()
        await page.close()


async def set_hidden(page: Page, hidden: bool) -> None:
    await page.evaluate(
        """hidden => {
             Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
             document.dispatchEvent(new Event("visibilitychange"));
           }""",
        hidden,
    )


async def test_page_in_the_background_stops_listening_until_it_is_shown(site: Site) -> None:
    await site.page.clock.install()
    await site.open("jobs")
    assert site.feed.opened.is_set()
    await set_hidden(site.page, True)
    await site.page.clock.fast_forward(11_000)
    async with asyncio.timeout(30):
        while site.feed.opened.is_set():
            await asyncio.sleep(0.05)
    await site.run_jobs(4)
    await set_hidden(site.page, False)
    await site.page.clock.resume()
    await expect(site.page.get_by_text("4 jobs")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
async def test_view_has_no_barrier_and_fits_each_width(site: Site, view: str, scheme: Any) -> None:
    await site.run_jobs(12)
    site.log.add(WORKER, "ready: up to 300 jobs at once")
    await site.page.emulate_media(color_scheme=scheme)
    await site.open(view)
    await site.page.wait_for_timeout(300)
    for width in WIDTHS:
        await site.page.set_viewport_size({"width": width, "height": 900})
        # Plots follow the new width in a later frame.
        fits = "width => document.documentElement.scrollWidth <= width"
        await site.page.wait_for_function(fits, arg=width, timeout=5_000)
        if width in (390, 1440):
            assert await find_barriers(site.page) == []
            if view == "configuration":
                size = "wide" if width > 1000 else "narrow"
                await take_picture(site.page, f"console-{view}-{scheme}-{size}")


async def test_job_and_dialog_have_no_barrier(site: Site) -> None:
    failed = (await site.run_jobs(10))[9]
    await site.open(f"jobs/{failed}")
    await expect(site.page.get_by_role("img", name="Timeline")).to_be_visible()
    assert await find_barriers(site.page) == []
    await site.page.get_by_role("button", name="Copy as").click()
    await expect(site.page.get_by_role("dialog")).to_contain_text("curl")
    assert await find_barriers(site.page) == []


async def test_keyboard_reaches_each_view_and_the_content(site: Site) -> None:
    await site.open("playground")
    await site.page.keyboard.press("Tab")
    await expect(site.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await site.page.keyboard.press("Enter")
    await expect(site.page.locator("#main")).to_be_focused()
    await site.page.get_by_role("link", name="Jobs").focus()
    await site.page.keyboard.press("Enter")
    await expect(site.page.get_by_role("heading", name="Jobs", level=1)).to_be_visible()
    await expect(site.page.get_by_role("link", name="Jobs")).to_have_attribute(
        "aria-current", "page"
    )


async def test_page_of_another_origin_cannot_send(site: Site) -> None:
    async def show(_request: web.Request) -> web.Response:
        # Without an icon the browser asks for one, which is an error.
        return web.Response(text='<link rel="icon" href="data:,">', content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    async with TestServer(app) as foreign:
        await site.page.goto(str(foreign.make_url("/")))
        sent = await site.page.evaluate(
            """url => fetch(url, {method: 'POST', mode: 'no-cors', body: '{"input": 1}'})
                 .then(answer => answer.type, error => String(error))""",
            f"{site.deployment.endpoint.url}/run",
        )
    assert sent == "opaque"  # the browser has sent it
    assert site.deployment.endpoint.jobs == {}
    site.problems.clear()
