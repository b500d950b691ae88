"""The client of RunPod's batches: what it repeats, for how long, and what it tells the user."""

from __future__ import annotations

import pytest

from worker.errors import UnavailableError
from worker_tools.batch import api as api_module
from worker_tools.batch.api import BatchClient, LimitError, UnansweredError
from worker_tools.dev import Limits, LocalEndpoint


async def test_limit_of_active_batches_is_no_rejection(start_worker):
    async with (
        start_worker(batch_active=1) as (endpoint, _worker),
        BatchClient(endpoint.url, None) as client,
    ):
        await client.create()
        with pytest.raises(LimitError):
            await client.create()


async def test_unreachable_endpoint_ends_after_the_patience():
    endpoint = LocalEndpoint(limits=Limits())
    await endpoint.start()
    url = endpoint.url
    await endpoint.stop()
    notes: list[str] = []
    async with BatchClient(url, None, patience_s=0.1, note=notes.append) as client:
        with pytest.raises(UnavailableError, match="same command again"):
            await client.get("batch_x")
    assert notes == []


async def test_endpoint_that_never_answered_ends_sooner(monkeypatch):
    monkeypatch.setattr(api_module, "FIRST_PATIENCE_S", 0.2)
    monkeypatch.setattr(api_module, "FIRST_RETRY_S", 0.05)
    endpoint = LocalEndpoint(limits=Limits())
    await endpoint.start()
    url = endpoint.url
    notes: list[str] = []
    async with BatchClient(url, None, note=notes.append) as client:
        await endpoint.stop()
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await client.get("batch_x")
    [note] = notes
    assert "cannot be reached" in note
    assert note.endswith("trying again for up to 0.2 s")


async def test_endpoint_that_answered_once_is_waited_for(monkeypatch):
    monkeypatch.setattr(api_module, "FIRST_PATIENCE_S", 0.01)
    monkeypatch.setattr(api_module, "FIRST_RETRY_S", 0.05)
    endpoint = LocalEndpoint(limits=Limits())
    await endpoint.start()
    notes: list[str] = []
    async with BatchClient(endpoint.url, None, note=notes.append) as client:
        batch_id = await client.create()
        answer = client.send

        async def fail_once(*arguments):
            client.send = answer
            raise UnansweredError("RunPod answered 502: bad gateway")

        client.send = fail_once
        assert (await client.get(batch_id)).status == "DRAFT"
    await endpoint.stop()
    assert notes == ["RunPod answered 502: bad gateway; trying again for up to 600 s"]
