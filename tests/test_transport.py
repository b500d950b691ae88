import asyncio
import importlib.metadata
import tomllib
from functools import partial
from pathlib import Path

import pytest

from worker.errors import ExitCode, UnavailableError
from worker.machine import MachineInfo
from worker.profile.pools import find_pool
from worker.request import Code
from worker.settings import load_settings
from worker.transport import (
    ABORT_S,
    SDK_VERSION,
    build_meter,
    build_options,
    build_transport,
    check_sdk_version,
    finish_jobs,
)
from worker.usage import UsageMeter


class Scaler:
    """Runs until its jobs are aborted, or forever."""

    def __init__(self, *, ends: bool) -> None:
        self.ends = ends
        self.reasons: list[str] = []
        self.aborted = asyncio.Event()

    async def run(self) -> None:
        await self.aborted.wait()

    def abort_jobs(self, reason) -> None:
        self.reasons.append(reason.code)
        if self.ends:
            self.aborted.set()


async def test_finish_jobs_aborts_what_runs_too_long():
    scaler = Scaler(ends=True)
    jobs = asyncio.create_task(scaler.run())
    await finish_jobs(scaler, jobs, 0.01)
    assert jobs.done()
    assert scaler.reasons == [Code.WORKER_STOPPING]


async def test_finish_jobs_does_not_wait_for_ever_for_the_platform(monkeypatch):
    assert ABORT_S > 0
    monkeypatch.setattr("worker.transport.ABORT_S", 0.01)
    scaler = Scaler(ends=False)
    jobs = asyncio.create_task(scaler.run())
    async with asyncio.timeout(5):
        await finish_jobs(scaler, jobs, 0.01)
    await asyncio.wait({jobs}, timeout=1)
    assert jobs.cancelled()


async def test_finish_jobs_raises_what_ended_the_loop():
    async def broken() -> None:
        raise TypeError("a mistake")

    with pytest.raises(TypeError, match="a mistake"):
        await finish_jobs(Scaler(ends=True), asyncio.create_task(broken()), 1)


@pytest.mark.parametrize(
    ("mode", "origins", "warned"), [("queue", "*", True), ("queue", "", False), ("pod", "*", False)]
)
def test_build_transport_warns_of_origins_that_the_queue_does_not_use(
    caplog, mode, origins, warned
):
    environ = {"MODEL_NAME": "a/b", "ALLOWED_ORIGINS": origins, "WORKER_API_KEY": "sk-worker-key"}
    build_transport(load_settings(environ), mode, None)
    assert ("ALLOWED_ORIGINS" in caplog.text) == warned


def test_sdk_version_is_the_one_that_pyproject_pins():
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert f"runpod=={SDK_VERSION}" in project["dependencies"]


def test_check_sdk_version_accepts_the_installed_sdk():
    check_sdk_version()


@pytest.mark.parametrize("installed", ["1.11.0", None])
async def test_queue_with_another_sdk_fails_at_start_with_both_versions(monkeypatch, installed):
    def version(_name: str) -> str:
        if installed is None:
            raise importlib.metadata.PackageNotFoundError
        return installed

    monkeypatch.setattr(importlib.metadata, "version", version)
    transport = build_transport(load_settings({"MODEL_NAME": "a/b"}), "queue", None)
    with pytest.raises(UnavailableError) as raised:
        await transport.prepare()
    assert raised.value.exit_code is ExitCode.UNAVAILABLE
    assert SDK_VERSION in str(raised.value)
    assert (installed or "none") in str(raised.value)


@pytest.mark.parametrize(
    ("gpu_name", "gpus", "priced"),
    [
        pytest.param("NVIDIA H100 80GB HBM3", 2, "H100", id="known"),
        pytest.param("NVIDIA Unheard Of", 1, None, id="unknown"),
        pytest.param(None, 0, None, id="no-gpu"),
    ],
)
def test_usage_record_has_the_price_of_the_machines_gpus(monkeypatch, gpu_name, gpus, priced):
    settings = load_settings({"MODEL_NAME": "a/b", "USAGE_RECORDS": "true"})
    machine = MachineInfo(gpus, 2**36, 2**36, gpu_name)
    now_s = [0.0]
    meter_class = partial(UsageMeter, clock=lambda: now_s[0])
    monkeypatch.setattr("worker.transport.UsageMeter", meter_class)
    meter = build_meter(settings.model_copy(update={"machine": machine}))
    span = meter.start()
    now_s[0] += 10
    span.end()

    usd = span.record("job", {})["usd"]

    price = None if priced is None else 10 * gpus * find_pool(priced).usd_per_s
    assert usd == (price if price is None else pytest.approx(price))


@pytest.mark.parametrize("endpoint", [None, "http://collector:4317"])
def test_jobs_are_traced_where_vllm_traces_requests(endpoint):
    environ = {"MODEL_NAME": "a/b"} | ({"OTLP_TRACES_ENDPOINT": endpoint} if endpoint else {})
    assert (build_options(load_settings(environ)).tracer is None) is (endpoint is None)
