import asyncio

import pytest
from aiohttp import web

from worker_tools.dev import Limits


class Receiver:
    """Collects the bodies of a webhook and answers the given statuses in turn."""

    def __init__(self, statuses):
        self.statuses = list(statuses)
        self.bodies = []
        self.got = asyncio.Event()

    async def receive(self, request):
        self.bodies.append(await request.json())
        status = self.statuses.pop(0)
        if not self.statuses:
            self.got.set()
        return web.Response(status=status)


@pytest.fixture
async def listen():
    runners = []

    async def start_receiver(*statuses):
        receiver = Receiver(statuses)
        app = web.Application()
        app.router.add_post("/hook", receiver.receive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        return receiver, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"

    yield start_receiver
    for runner in runners:
        await runner.cleanup()


async def finish_job(api, webhook):
    job_id = await api.run("x", webhook=webhook)
    await api.take()
    await api.done(job_id, {"output": 1})
    return api.endpoint.jobs[job_id]


async def wait_for_outcome(job):
    async with asyncio.timeout(5):
        while job.metrics.webhook is None:
            await asyncio.sleep(0.01)
    return job.metrics.webhook


async def test_webhook_gets_what_status_says(api, listen):
    receiver, url = await listen(200)
    job = await finish_job(api, url)
    assert await wait_for_outcome(job) == "delivered"
    assert receiver.bodies == [await api.status(job.id)]


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [([500, 200], "delivered"), ([500, 500, 500], "failed")],
    ids=["second-try", "never"],
)
async def test_webhook_is_retried_at_most_twice(start, listen, statuses, outcome, caplog):
    api = await start(limits=Limits(webhook_retry_s=0.02))
    receiver, url = await listen(*statuses)
    job = await finish_job(api, url)
    assert await wait_for_outcome(job) == outcome
    assert len(receiver.bodies) == len(statuses)
    assert ("status 500" in caplog.text) is (outcome == "failed")


async def test_webhook_to_another_machine_is_not_called(api, caplog):
    job = await finish_job(api, "http://10.0.0.1/hook")
    assert job.metrics.webhook == "refused"
    assert "not on this machine" in caplog.text


async def test_webhook_nobody_listens_fails_and_job_is_unharmed(start, unused_tcp_port, caplog):
    api = await start(limits=Limits(webhook_retry_s=0.01))
    job = await finish_job(api, f"http://127.0.0.1:{unused_tcp_port}/hook")
    assert await wait_for_outcome(job) == "failed"
    assert (await api.status(job.id))["status"] == "COMPLETED"
    assert job.id in caplog.text
