"""Requests that a browser sends for a page of another origin."""

import pytest

FOREIGN = "http://evil.example"


@pytest.fixture
def own(api):
    return f"http://127.0.0.1:{api.endpoint.port}"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": FOREIGN}, id="origin"),
        pytest.param({"Origin": "null"}, id="sandbox"),
        pytest.param({"Origin": "http://localhost:1"}, id="other-port"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, id="cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, id="same-site"),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("POST", "/run", id="run"),
        pytest.param("POST", "/purge-queue", id="purge"),
        pytest.param("POST", "/job-done/w1/x", id="worker-webhook"),
        pytest.param("GET", "/job-take/w1", id="take"),
        pytest.param("POST", "/openai/v1/chat/completions", id="openai"),
    ],
)
async def test_request_of_another_origin_is_refused(api, method, path, headers):
    body = {"input": "x", "webhook": f"http://127.0.0.1:{api.endpoint.port}/v2/local/purge-queue"}
    status, answer = await api.call(method, path, json=body, headers=headers)
    assert status == 403
    assert "another origin" in answer["error"]
    assert api.endpoint.jobs == {}


async def test_https_page_of_the_same_name_is_another_origin(api):
    headers = {"Origin": f"https://127.0.0.1:{api.endpoint.port}"}
    assert (await api.call("POST", "/run", json={"input": 1}, headers=headers))[0] == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
async def test_request_of_our_own_page_is_accepted(api, own, site):
    headers = {"Origin": own, "Sec-Fetch-Site": site}
    assert (await api.call("POST", "/run", json={"input": 1}, headers=headers))[0] == 200


async def test_program_without_these_headers_is_accepted(api):
    assert (await api.call("POST", "/run", json={"input": 1}))[0] == 200


async def test_link_of_another_page_leads_to_the_page_only(api, own):
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    async with api.session.get(f"{own}/", headers=headers) as answer:
        assert answer.status == 404  # this endpoint has no page; the request was let through
    assert (await api.call("GET", "/health", headers=headers))[0] == 403


async def test_host_of_dns_rebinding_is_refused(api, own):
    async with api.session.get(f"{own}/console/api/about", headers={"Host": "evil"}) as answer:
        assert answer.status == 403
