import random

import pytest

from worker.stream.events import EventBuffer, split_events

STREAM = "".join(
    f'data: {{"text": "{text}"}}\n\n' for text in ("Hallo", "Grüße 🦙", "\\n\\n", "", "日本語")
).encode()
"""Five events; the third holds line ends as JSON writes them."""


@pytest.mark.parametrize(
    ("chunks", "taken", "count", "rest"),
    [
        pytest.param([b"data: a\n\n"], b"data: a\n\n", 1, b"", id="one-event"),
        pytest.param([b"a\n\nb\n\n"], b"a\n\nb\n\n", 2, b"", id="two-events"),
        pytest.param([b"a\n\nb"], b"a\n\n", 1, b"b", id="event-and-beginning"),
        pytest.param([b"a\n", b"\nb"], b"a\n\n", 1, b"b", id="cut-in-the-end-mark"),
        pytest.param([b"a\n"], b"", 0, b"a\n", id="half-an-end-mark"),
        pytest.param([b"", b""], b"", 0, b"", id="nothing"),
        pytest.param([b"event: x\ndata: a\n\n"], b"event: x\ndata: a\n\n", 1, b"", id="two-lines"),
    ],
)
def test_event_buffer_gives_whole_events(chunks, taken, count, rest):
    buffer = EventBuffer()
    for chunk in chunks:
        buffer.feed(chunk)
    assert (buffer.count, buffer.size, buffer.rest) == (count, len(taken), rest)
    assert buffer.pop() == taken
    assert (buffer.count, buffer.size) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_event_buffer_never_splits_an_event_or_a_character(seed):
    chance = random.Random(seed)
    buffer, taken, start = EventBuffer(), [], 0
    while start < len(STREAM):
        end = start + chance.randint(1, 12)
        buffer.feed(STREAM[start:end])
        start = end
        if chance.random() < 0.5:
            taken.append(buffer.pop())
    taken.append(buffer.pop())
    assert b"".join(taken) == STREAM
    for chunk in filter(None, taken):
        assert chunk.decode().endswith("\n\n")


def test_event_buffer_byte_by_byte_counts_each_event_once():
    buffer = EventBuffer()
    for number in range(len(STREAM)):
        buffer.feed(STREAM[number : number + 1])
    assert buffer.count == 5
    assert buffer.pop() == STREAM


@pytest.mark.parametrize(
    ("data", "events"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"a\n\n", [b"a\n\n"], id="one"),
        pytest.param(b"a\n\nb\n\n", [b"a\n\n", b"b\n\n"], id="two"),
        pytest.param(b"a\n\nb", [b"a\n\n", b"b\n\n"], id="last-without-its-end"),
        pytest.param(b"x: 1\ny: 2\n\n", [b"x: 1\ny: 2\n\n"], id="event-of-two-lines"),
    ],
)
def test_split_events_cuts_at_empty_lines(data, events):
    assert split_events(data) == events


@pytest.mark.parametrize(
    ("sizes", "limit", "chunks"),
    [
        pytest.param([10, 10, 10], 30, [30], id="fits"),
        pytest.param([10, 10, 10], 29, [20, 10], id="one-too-many"),
        pytest.param([10, 10, 10], 20, [20, 10], id="exactly"),
        pytest.param([10, 10, 10], 1, [10, 10, 10], id="each-too-large"),
        pytest.param([10, 50, 10], 25, [10, 50, 10], id="a-large-one-alone"),
    ],
)
def test_event_buffer_takes_at_most_a_limit_of_whole_events(sizes, limit, chunks):
    buffer = EventBuffer()
    buffer.feed(b"".join(b"x" * (size - 2) + b"\n\n" for size in sizes) + b"rest")
    taken = []
    while buffer.count:
        taken.append(len(buffer.pop(limit)))
    assert taken == chunks
    assert (buffer.count, buffer.size, buffer.rest) == (0, 0, b"rest")
