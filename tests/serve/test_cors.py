"""Pages of other origins: preflights without a key, answers and errors that they can read."""

from __future__ import annotations

import io

import pytest

from tests.fakes.engine import BODY, CHAT, EVENT, REPLY, STREAM, say, stream
from worker.serve import Cors, State
from worker.settings import load_settings
from worker.transport import build_cors

KEY = "sk-worker-key"
PAGE = "https://app.example.com"
ORIGIN = {"Origin": PAGE}
WITH_KEY = {**ORIGIN, "Authorization": f"Bearer {KEY}"}
PREFLIGHT = {
    **ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}
ALLOW = "Access-Control-Allow-Origin"


@pytest.mark.parametrize("path", [CHAT, "/runsync", "/ping", "/v1/messages", "/nothing"])
async def test_preflight_is_answered_without_the_key_in_every_state(harness, path):
    await harness.open(api_key=KEY, cors=Cors([PAGE]), two_ports=True)
    for change in (
        lambda: None,
        harness.begin,
        lambda: harness.server.stop_accepting(State.FAILED),
    ):
        change()
        async with harness.request("OPTIONS", path, headers=PREFLIGHT) as response:
            assert response.status == 204
            assert response.headers[ALLOW] == PAGE
            assert response.headers["Access-Control-Allow-Methods"] == "POST"
            allowed = response.headers["Access-Control-Allow-Headers"]
            assert allowed == PREFLIGHT["Access-Control-Request-Headers"]
            assert "Origin" in response.headers["Vary"]
    assert harness.engine.requests == []


@pytest.mark.parametrize(
    ("method", "path", "headers", "more", "status"),
    [
        pytest.param("POST", CHAT, ORIGIN, {"json": BODY}, 401, id="no key"),
        pytest.param("GET", "/v1/nothing", WITH_KEY, {}, 404, id="unknown route"),
        pytest.param("GET", CHAT, WITH_KEY, {}, 405, id="method"),
        pytest.param("POST", CHAT, WITH_KEY, {"data": b"{"}, 400, id="not json"),
        pytest.param("GET", "/metrics", WITH_KEY, {}, 403, id="closed"),
        pytest.param("GET", "/ping", ORIGIN, {}, 200, id="health"),
        pytest.param("OPTIONS", CHAT, ORIGIN, {}, 401, id="no preflight"),
    ],
)
async def test_cors_headers_are_on_an_answer_of_the_worker(
    harness, method, path, headers, more, status
):
    await harness.open(api_key=KEY, cors=Cors([PAGE]))
    harness.begin()
    async with harness.request(method, path, headers=headers, **more) as response:
        assert response.status == status
        assert response.headers[ALLOW] == PAGE
        assert response.headers["Access-Control-Expose-Headers"] == "*"


async def test_cors_headers_are_on_the_refusal_of_a_large_body(harness):
    await harness.open(cors=Cors([PAGE]))
    harness.begin()
    body = io.BytesIO(b" " * 30_000_001)
    async with harness.request("POST", CHAT, data=body, headers=ORIGIN) as response:
        assert (response.status, response.headers[ALLOW]) == (413, PAGE)


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_cors_headers_are_on_an_error_of_vllm(harness, status):
    await harness.open(cors=Cors([PAGE]))
    harness.begin()
    harness.engine.answer = say({"error": {"message": "no", "code": status}}, status=status)
    async with harness.request("POST", CHAT, json=BODY, headers=ORIGIN) as response:
        assert response.status >= 400
        assert response.headers[ALLOW] == PAGE


async def test_cors_headers_are_on_the_refusal_of_a_full_worker(harness):
    await harness.open(max_concurrency=1, cors=Cors([PAGE]))
    async with harness.request("POST", CHAT, json=BODY, headers=ORIGIN) as response:
        assert (response.status, response.headers[ALLOW]) == (503, PAGE)  # the model is loading
    harness.begin()
    harness.engine.answer = stream(EVENT, hang=True)
    async with harness.request("POST", CHAT, json=STREAM, headers=ORIGIN) as running:
        assert running.headers[ALLOW] == PAGE
        async with harness.request("POST", CHAT, json=BODY, headers=ORIGIN) as response:
            assert response.status in (429, 503)
            assert response.headers[ALLOW] == PAGE


async def test_cors_headers_are_on_the_health_port(harness):
    await harness.open(two_ports=True, cors=Cors([PAGE]))
    for path, status in (("/ping", 204), ("/nothing", 404)):
        async with harness.request(
            "GET", path, port=harness.health_port, headers=ORIGIN
        ) as response:
            assert (response.status, response.headers[ALLOW]) == (status, PAGE)


@pytest.mark.parametrize(
    ("allowed", "origin", "answer"),
    [
        pytest.param(["*"], PAGE, "*", id="any"),
        pytest.param(["https://x.org", PAGE], PAGE, PAGE, id="one of several"),
        pytest.param(["HTTPS://App.Example.com/"], PAGE, PAGE, id="written otherwise"),
        pytest.param(["https://x.org"], PAGE, None, id="another"),
        pytest.param([PAGE], PAGE + ".evil.org", None, id="longer"),
        pytest.param([PAGE], "null", None, id="null"),
    ],
)
async def test_origin_is_compared_with_the_list(harness, allowed, origin, answer):
    await harness.open(cors=Cors(allowed))
    harness.begin()
    harness.engine.answer = say(REPLY, headers={"Vary": "Accept"})
    asked = {**PREFLIGHT, "Origin": origin}
    async with harness.request("OPTIONS", CHAT, headers=asked) as response:
        assert response.headers.get(ALLOW) == answer
    async with harness.request("POST", CHAT, json=BODY, headers={"Origin": origin}) as response:
        assert response.headers.get(ALLOW) == answer
        assert ("Origin" in response.headers["Vary"]) == (answer != "*")
        assert "Accept" in response.headers["Vary"]
    assert "Origin" not in harness.engine.requests[0].headers


async def test_credentials_name_the_origin_and_all_headers(harness):
    await harness.open(cors=Cors(["*"], credentials=True))
    harness.begin()
    harness.engine.answer = say(REPLY, headers={"X-Request-Id": "7"})
    async with harness.request("POST", CHAT, json=BODY, headers=ORIGIN) as response:
        assert response.headers[ALLOW] == PAGE
        assert response.headers["Access-Control-Allow-Credentials"] == "true"
        exposed = response.headers["Access-Control-Expose-Headers"].lower().split(", ")
        assert {"x-request-id", "content-type"} <= set(exposed)


async def test_limited_methods_and_headers_are_listed(harness):
    await harness.open(cors=Cors([PAGE], ["GET", "POST"], ["Authorization"]))
    async with harness.request("OPTIONS", CHAT, headers=PREFLIGHT) as response:
        assert response.headers["Access-Control-Allow-Methods"] == "GET, POST"
        assert response.headers["Access-Control-Allow-Headers"] == "Authorization"


async def test_without_allowed_origins_no_answer_has_cors_headers(harness):
    await harness.open(api_key=KEY)
    harness.begin()
    async with harness.request("OPTIONS", CHAT, headers=PREFLIGHT) as response:
        assert response.status == 401
        assert not [name for name in response.headers if name.startswith("Access-Control")]


def test_cors_rules_follow_vllms_options():
    environ = {"MODEL_NAME": "a/b", "ALLOWED_ORIGINS": f"{PAGE}, http://localhost:3000"}
    cors = build_cors(load_settings({**environ, "ALLOW_CREDENTIALS": "true"}))
    assert cors == Cors([PAGE, "http://localhost:3000"], credentials=True)
    assert build_cors(load_settings({"MODEL_NAME": "a/b"})) is None
