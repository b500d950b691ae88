import asyncio

import aiohttp
import pytest

from worker.errors import ExitCode, UnavailableError
from worker_tools.dev import LocalEndpoint


async def test_endpoint_urls_name_port_and_path(api):
    endpoint = api.endpoint
    assert endpoint.port > 0
    assert endpoint.url == f"http://127.0.0.1:{endpoint.port}/v2/local"
    assert endpoint.openai_url == f"{endpoint.url}/openai/v1"


async def test_endpoint_listens_on_loopback_only(api):
    async with api.session.get(f"http://127.0.0.1:{api.endpoint.port}/v2/local/health") as response:
        assert response.status == 200
    with pytest.raises(aiohttp.ClientConnectionError):
        # Another address of this machine, on which a server of all addresses would answer.
        await api.session.get(f"http://127.0.0.2:{api.endpoint.port}/v2/local/health")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("localhost", 200),
        ("[::1]:{port}", 200),
        ("evil.example:{port}", 403),
        ("127.0.0.1.evil.example", 403),
    ],
)
async def test_endpoint_answers_to_this_machines_names_only(api, host, status):
    headers = {"Host": host.format(port=api.endpoint.port)}
    assert (await api.call("GET", "/health", headers=headers))[0] == status


async def test_start_port_in_use_names_port_and_remedy(api):
    port = api.endpoint.port
    with pytest.raises(UnavailableError, match=rf"port {port} on 127\.0\.0\.1 is in use.*--port"):
        await LocalEndpoint().start(port)


async def test_start_port_not_allowed_is_unavailable():
    with pytest.raises(UnavailableError, match="port 70000") as caught:
        await LocalEndpoint().start(70000)
    assert caught.value.exit_code is ExitCode.UNAVAILABLE


async def test_stop_ends_open_polls_and_frees_the_port(session):
    endpoint = LocalEndpoint()
    await endpoint.start()
    poll = asyncio.create_task(session.get(endpoint.url + "/job-take/w1?gpu=x"))
    await asyncio.sleep(0.05)
    await endpoint.stop()
    outcomes = await asyncio.gather(poll, return_exceptions=True)
    assert isinstance(outcomes[0], aiohttp.ClientResponse | aiohttp.ClientConnectionError)
    again = LocalEndpoint()
    await again.start(endpoint.port)
    await again.stop()


async def test_stop_before_start_does_nothing():
    endpoint = LocalEndpoint()
    await endpoint.stop()
    assert endpoint.port == 0


async def test_worker_environment_has_the_urls_that_the_sdk_expands(api):
    environ = api.endpoint.worker_environment("w7")
    base = api.endpoint.url
    assert environ["RUNPOD_POD_ID"] == "w7"
    assert environ["RUNPOD_WEBHOOK_GET_JOB"].startswith(f"{base}/job-take/$ID?")
    assert environ["RUNPOD_WEBHOOK_PING"].startswith(f"{base}/ping/$RUNPOD_POD_ID?")
    for name, operation in (("OUTPUT", "job-done"), ("STREAM", "job-stream")):
        url = environ[f"RUNPOD_WEBHOOK_POST_{name}"]
        # The SDK appends `&isStream=…`, so the URL has to have a query.
        assert url.startswith(f"{base}/{operation}/$RUNPOD_POD_ID/$ID?")
