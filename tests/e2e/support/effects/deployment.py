"""Parameters that need something of the deployment: an adapter, a model that sees, a queue."""

from __future__ import annotations

import asyncio
import base64
import re
import struct
import zlib
from typing import Any

from tests.e2e.support.parameters import Answer, Asker, effect

ADAPTER = "loud"
"""Name of the deployment's LoRA adapter."""

SURE = {"temperature": 0, "logprobs": 1, "ignore_eos": True}
CLEAR = (0, 0, 0, 0)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def draw(color: tuple[int, ...], size: int = 40) -> str:
    """Return a picture of one colour, with its transparency if it has one, as a PNG data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    kind = {3: 2, 4: 6}[len(color)]
    pixels = (b"\0" + bytes(color) * size) * size
    file = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", size, size, 8, kind, 0, 0, 0)
    )
    file += chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(file).decode()


def show(color: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return messages with a picture in them."""
    picture = {"type": "image_url", "image_url": {"url": draw(color)}}
    return [{"role": "user", "content": [picture, {"type": "text", "text": "What is it?"}]}]


def same(one: Answer, other: Answer) -> bool:
    """Return whether two answers have the same tokens with the same certainty."""
    near = zip(one.first.chosen, other.first.chosen, strict=True)
    return one.first.ids == other.first.ids and all(abs(a - b) < 1e-3 for a, b in near)


@effect("model")
async def adapter_answers_in_its_own_way(ask: Asker) -> None:
    unnamed = await ask(**SURE)
    assert same(await ask(model="tiny", **SURE), unnamed)
    assert not same(await ask(model=ADAPTER, **SURE), unnamed)


@effect("messages")
async def pictures_are_seen(ask: Asker) -> None:
    red = await ask(messages=show(RED), **SURE)
    assert same(await ask(messages=show(RED), **SURE), red)
    assert not same(await ask(messages=show(BLUE), **SURE), red)


@effect("media_io_kwargs")
async def what_is_behind_a_clear_picture_is_chosen(ask: Asker) -> None:
    red = await ask(messages=show(RED), **SURE)
    behind = {"image": {"rgba_background_color": list(RED)}}
    assert same(await ask(messages=show(CLEAR), media_io_kwargs=behind, **SURE), red)
    assert not same(await ask(messages=show(CLEAR), **SURE), red)


@effect("mm_processor_kwargs")
async def picture_is_processed_otherwise(ask: Asker) -> None:
    red = await ask(messages=show(RED), **SURE)
    faint = {"rescale_factor": 0.0001}
    assert not same(await ask(messages=show(RED), mm_processor_kwargs=faint, **SURE), red)


WAITING = re.compile(r"^vllm:num_requests_waiting\{.*\} (\S+)$", re.M)


@effect("priority")
async def lower_priority_is_answered_first(ask: Asker) -> None:
    """For a deployment that works on one sequence at a time, with control routes open."""
    async with asyncio.timeout(60):
        while (order := await answer_in_turn(ask)) is None:
            pass
    assert order == [0, 1, 9]


async def answer_in_turn(ask: Asker) -> list[int] | None:
    """Ask with priorities 0, 9 and 1, and return them in the order of the answers.

    None if the first was answered before the others waited; each takes two places, one at a time.
    """
    order: list[int] = []

    async def queue(priority: int, tokens: int) -> None:
        await ask(priority=priority, max_tokens=tokens, n=2, ignore_eos=True)
        order.append(priority)

    async def wait_for(waiting: int) -> None:
        found = 0
        while found < waiting and not first.done():
            job = await ask.api.runsync({"route": "/metrics"})
            lines = WAITING.findall(job["output"][0])
            found = sum(int(float(line)) for line in lines)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(queue(0, 200))
        await wait_for(1)
        group.create_task(queue(9, 50))
        await wait_for(3)
        group.create_task(queue(1, 50))
        await wait_for(5)
        in_time = not first.done()
    return order if in_time else None
