"""The API of the page, over HTTP."""

import asyncio
import json

import orjson
import pytest

from worker_tools.dev.deployment import LocalDeployment
from worker_tools.dev.job import JobRequest
from worker_tools.dev.web import api as api_module
from worker_tools.dev.web import feed

HOSTILE = '<img src=x onerror="alert(1)"></script>\u2028'


async def finish(page, job_id, body, worker="w1"):
    await page.api.take(worker)
    assert await page.api.done(job_id, body, worker) == 200


async def test_about_names_model_and_addresses(page):
    status, about = await page.get("about")
    assert status == 200
    assert about["model"] == "Qwen/Qwen3-8B"
    assert about["openai_url"] == page.endpoint.openai_url
    assert about["state"]["state"] == "ready"


async def test_jobs_come_newest_first_with_a_cursor(page, monkeypatch):
    monkeypatch.setattr(api_module, "PAGE_JOBS", 2)
    ids = [await page.api.run({"prompt": str(number)}) for number in range(5)]
    seen, before = [], None
    while True:
        query = "" if before is None else f"?before={before}"
        _, answer = await page.get(f"jobs{query}")
        seen += [job["id"] for job in answer["jobs"]]
        before = answer["next"]
        if before is None:
            break
    assert seen == ids[::-1]


@pytest.mark.parametrize("query", ["before=x", "before=-1", "before=" + "9" * 30])
async def test_jobs_with_a_wrong_cursor_is_refused(page, query):
    assert (await page.get(f"jobs?{query}"))[0] == 400


async def test_job_has_timeline_request_reply_and_log(page):
    job_id = await page.api.run({"prompt": HOSTILE, "stream": True})
    await page.api.take("w1")
    await page.api.stream(job_id, {"choices": [{"tokens": [HOSTILE]}]}, "w1")
    line = f'{{"requestId": "{job_id}", "message": "Finished", "level": "INFO"}}'
    page.console.log.add("worker-1", line)
    usage = {"input": 3, "output": 7}
    await page.api.done(job_id, {"output": [{"choices": [], "usage": usage}]}, "w1")
    status, job = await page.get(f"jobs/{job_id}")
    assert status == 200
    assert [post[0] for post in job["timeline"]] == ["stream", "done"]
    assert all(post[2] > 10 for post in job["timeline"])
    assert 0 <= job["taken"] <= job["first"] <= job["ended"]
    assert (job["in"], job["out"]) == (3, 7)
    assert (job["kind"], job["stream"]) == ("native prompt", True)
    assert job["request"]["value"]["prompt"] == HOSTILE
    assert job["chunks"]["values"][0]["choices"][0]["tokens"] == [HOSTILE]
    assert [entry["text"] for entry in job["log"]] == ["Finished"]
    assert job["can"] == {"cancel": False, "retry": False}


async def test_job_that_the_endpoint_has_deleted_stays_in_the_history(page):
    request = JobRequest(
        {"prompt": "x"}, sync=False, execution_timeout_ms=9000, ttl_ms=9000, retention_s=0.05
    )
    job_id = page.endpoint.store.submit(request).id
    await finish(page, job_id, {"output": "y"})
    async with asyncio.timeout(5):
        while job_id in page.endpoint.jobs:
            await asyncio.sleep(0.02)
    status, job = await page.get(f"jobs/{job_id}")
    assert status == 200
    assert job["output"]["value"] == "y"


async def test_failed_job_has_the_documentation_of_its_code(page):
    job_id = await page.api.run({"prompt": "x"})
    error = '{"error": {"code": "invalid_parameter", "param": "n", "message": "no"}}'
    await finish(page, job_id, {"error": error})
    _, job = await page.get(f"jobs/{job_id}")
    assert job["code"] == "invalid_parameter"
    assert job["error"]["param"] == "n"
    assert "wrong type" in job["error"]["docs"]["meaning"]
    assert job["error"]["docs"]["page"] == "docs/errors.md#invalid_parameter"
    assert job["can"]["retry"] is True


async def test_job_whose_input_is_no_json_is_shown_as_text(page):
    fragment = orjson.Fragment(b'{"prompt": "\xff"}')
    job = page.endpoint.store.submit(JobRequest(fragment, False, 600_000, 600_000, 600.0))
    status, answer = await page.get(f"jobs/{job.id}")
    assert status == 200
    assert answer["request"]["start"].startswith('{"prompt"')


@pytest.mark.parametrize("code", [3, ["x"], {"a": 1}, "y" * 1000])
async def test_odd_code_of_an_error_is_a_short_text_in_the_list(page, code):
    job_id = await page.api.run({"prompt": "x"})
    await finish(page, job_id, {"error": json.dumps({"error": {"code": code}})})
    _, answer = await page.get("jobs")
    assert len(answer["jobs"][0]["code"]) <= 120
    assert (await page.get(f"jobs/{job_id}"))[0] == 200


async def test_unknown_job_is_404(page):
    assert (await page.get("jobs/nope"))[0] == 404
    assert (await page.get("stream/nope"))[0] == 404


async def test_large_request_is_shown_in_part(page):
    job_id = await page.api.run({"prompt": "x" * 600_000})
    _, job = await page.get(f"jobs/{job_id}")
    assert "value" not in job["request"]
    assert job["request"]["bytes"] > 600_000
    assert len(job["request"]["start"]) == 512 * 1024


async def test_events_bring_the_state_and_each_change_of_a_job(page):
    async with page.events() as read:
        assert (await read())[0] == "state"
        job_id = await page.api.run({"prompt": "x"})
        name, jobs = await read("jobs")
        assert [job["id"] for job in jobs] == [job_id]
        await finish(page, job_id, {"output": "y"})
        name, jobs = await read("jobs")
        assert (name, jobs[0]["status"]) == ("jobs", "COMPLETED")


async def test_too_many_open_pages_are_refused(page, monkeypatch):
    monkeypatch.setattr(feed, "MOST_PAGES", 1)
    async with page.events() as read:
        await read()
        assert (await page.get("events"))[0] == 503


async def test_nothing_is_kept_for_pages_while_none_is_open(page):
    async with page.events() as read:
        await read()
    async with asyncio.timeout(5):
        while page.console.feed.opened.is_set():
            await asyncio.sleep(0.02)
    page.console.feed.publish("sample", [1])
    async with page.events() as read:
        await read()
        job_id = await page.api.run({"prompt": "x"})
        name, jobs = await read()
    assert (name, [job["id"] for job in jobs]) == ("jobs", [job_id])


async def test_stream_sends_chunks_and_a_page_that_connects_again_gets_the_rest(page):
    job_id = await page.api.run({"prompt": "x", "stream": True})
    await page.api.take("w1")
    await page.api.stream(job_id, "one", "w1")
    async with page.events(f"stream/{job_id}") as read:
        assert await read() == ("chunk", "one")
        await page.api.stream(job_id, "two", "w1")
        assert await read() == ("chunk", "two")
    await page.api.done(job_id, {"output": ["one", "two"]}, "w1")
    async with page.events(f"stream/{job_id}", headers={"Last-Event-ID": "1"}) as read:
        assert await read() == ("chunk", "two")
        name, end = await read()
        assert (name, end["status"], end["output"]) == ("end", "COMPLETED", None)


async def test_stream_of_a_job_without_chunks_ends_with_its_output(page):
    job_id = await page.api.run({"prompt": "x"})
    await finish(page, job_id, {"output": [{"choices": []}]})
    async with page.events(f"stream/{job_id}") as read:
        assert (await read())[1]["output"] == [{"choices": []}]


async def test_log_comes_after_a_cursor(page):
    page.console.log.add("worker-1", "one")
    page.console.log.add("worker-1", "two")
    _, answer = await page.get("log?after=1")
    assert [line["text"] for line in answer["lines"]] == ["two"]


async def test_configuration_hides_secrets_everywhere(page):
    status, answer = await page.get("configuration")
    assert status == 200
    assert answer["ok"] is True
    assert "secretsecret" not in str(answer)
    values = {item["name"]: item["value"] for item in answer["settings"]}
    assert values["HF_TOKEN"] == "[redacted]"
    assert "{{ RUNPOD_SECRET_HF_TOKEN }}" in answer["lines"]["console"]


async def test_check_reports_problems_and_changes_nothing(page):
    body = {"changes": {"MAX_NUM_SEQS": "many"}}
    status, answer = await page.post("configuration/check", body)
    assert (status, answer["ok"]) == (200, False)
    assert answer["problems"][0]["where"] == "MAX_NUM_SEQS"
    assert "MAX_NUM_SEQS" not in page.console.deployment.environ


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"LD_PRELOAD": "x"}, id="no-setting"),
        pytest.param({"MODEL_NAME": 3}, id="no-text"),
        pytest.param({"MODEL_NAME": "a\0b"}, id="null-character"),
        pytest.param(["MODEL_NAME"], id="no-object"),
    ],
)
@pytest.mark.parametrize("route", ["check", "restart"])
async def test_changes_that_are_no_settings_are_refused(page, route, changes):
    status, _ = await page.post(f"configuration/{route}", {"changes": changes})
    assert status == 400


async def test_restart_with_a_wrong_setting_is_not_done(page, monkeypatch):
    monkeypatch.setattr(LocalDeployment, "restart", None)
    body = {"changes": {"MAX_NUM_SEQS": "many"}}
    _, answer = await page.post("configuration/restart", body)
    assert answer["restarted"] is False
    assert answer["problems"][0]["where"] == "MAX_NUM_SEQS"


async def test_restart_applies_the_changes(page):
    body = {"changes": {"MAX_NUM_SEQS": "16", "HF_TOKEN": None}}
    _, answer = await page.post("configuration/restart", body)
    assert answer == {"restarted": True, "problems": []}
    async with asyncio.timeout(5):
        while page.console.deployment.environ.get("MAX_NUM_SEQS") != "16":
            await asyncio.sleep(0.02)
    assert "HF_TOKEN" not in page.console.deployment.environ


async def test_fit_has_the_table_with_one_choice(page):
    _, fit = await page.get("fit")
    assert fit["profile"] == "qwen3-8b"
    assert [row["chosen"] for row in fit["rows"]].count(True) == 1


async def test_forms_and_metrics_are_served(page):
    _, forms = await page.get("forms")
    assert {"chat", "completion", "native", "embeddings"} == set(forms)
    _, metrics = await page.get("metrics")
    assert metrics["samples"] == []
    assert metrics["series"][0] == "at"


async def test_abilities_are_unknown_without_an_engine(page):
    assert (await page.get("abilities"))[1] == {"routes": None, "images": None}


async def test_snippets_use_the_address_of_the_endpoint(page):
    body = {"input": {"prompt": "x"}, "runpod": False}
    _, found = await page.post("snippets", body)
    assert page.endpoint.url in found["curl"]
    _, found = await page.post("snippets", {**body, "runpod": True})
    assert "https://api.runpod.ai/v2/YOUR_ENDPOINT_ID" in found["curl"]
    assert (await page.post("snippets", {"input": []}))[0] == 400
