"""Nodes of a cluster: each notices when another has ended."""

from __future__ import annotations

import asyncio

import pytest

from worker.errors import UnavailableError
from worker.serve import FollowerMonitor, LeaderMonitor, State
from worker.serve.cluster import NODE


def leader_of(harness, timeout_s=0.05, number=1):
    return LeaderMonitor(f"http://127.0.0.1:{harness.port}/ping", number, timeout_s)


@pytest.fixture
def polls_often(monkeypatch):
    monkeypatch.setattr("worker.serve.cluster.POLL_INTERVAL_S", 0.01)


async def test_leader_is_ready_when_it_answers(harness):
    await harness.open()
    leader = leader_of(harness)
    assert not await leader.is_ready()
    harness.begin()
    assert await leader.is_ready()
    await leader.close()


async def test_leader_that_was_never_seen_counts_as_starting(harness):
    leader = LeaderMonitor("http://127.0.0.1:9/ping", 1, timeout_s=0)
    assert not await leader.is_ready()
    assert not await leader.is_ready()
    await leader.close()


@pytest.mark.parametrize("state", [State.STOPPING, State.FAILED])
async def test_leader_that_stops_while_this_node_loads_ends_the_start(harness, state):
    await harness.open()
    leader = leader_of(harness)
    harness.server.stop_accepting(state)
    with pytest.raises(UnavailableError, match=r"node 0 .* has ended: http://127.*/ping"):
        await leader.is_ready()
    await leader.close()


async def test_leader_that_stops_ends_its_followers_in_order(harness, polls_often):
    await harness.open()
    harness.begin()
    leader = leader_of(harness)
    waiting = asyncio.create_task(leader.wait_gone())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    harness.server.stop_accepting(State.STOPPING)
    assert await asyncio.wait_for(waiting, 5) is None
    await leader.close()


async def test_leader_whose_worker_has_ended_ends_its_followers(harness, polls_often):
    await harness.open()
    harness.begin()
    leader = leader_of(harness)
    assert await leader.is_ready()
    await harness.server.close()
    assert await asyncio.wait_for(leader.wait_gone(), 5) is None
    await leader.close()


async def test_leader_that_does_not_respond_any_more_is_a_failure(polls_often, monkeypatch):
    monkeypatch.setattr("worker.serve.cluster.POLL_TIMEOUT_S", 0.1)
    heard = asyncio.Event()

    async def answer_once(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if not heard.is_set():
            heard.set()
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        else:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer_once, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        leader = LeaderMonitor(f"http://127.0.0.1:{port}/ping", 1, timeout_s=0.05)
        assert "node 0 does not respond" in await asyncio.wait_for(leader.wait_gone(), 5)
        assert heard.is_set()
        await leader.close()


async def test_follower_that_stops_polling_is_a_failure(harness, polls_often):
    harness.followers = FollowerMonitor(3, timeout_s=0.2)
    await harness.open()
    harness.begin()
    gone = asyncio.create_task(harness.followers.wait_gone())
    stays, leaves = leader_of(harness, number=1), leader_of(harness, number=2)
    for _ in range(30):
        assert await stays.is_ready()
        assert await leaves.is_ready()
        await asyncio.sleep(0.01)
    assert not gone.done()
    await leaves.close()
    while not gone.done():
        assert await stays.is_ready()
        await asyncio.sleep(0.01)
    assert gone.result() == "node 2 stopped polling"
    await stays.close()


@pytest.mark.parametrize("name", ["0", "3", "x", "", "-1"])
async def test_other_clients_of_the_health_check_are_ignored(harness, polls_often, name):
    harness.followers = FollowerMonitor(3, timeout_s=0)
    await harness.open()
    assert (await harness.ask("GET", "/ping", params={NODE: name}))[0] == 204
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(harness.followers.wait_gone(), 0.05)
