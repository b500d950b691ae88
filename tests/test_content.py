"""Logs say where a request failed and how large it was, and repeat nothing of it."""

import asyncio
import dataclasses
import enum
import logging

import pytest

from worker.content import (
    HIDDEN,
    describe_exception,
    describe_shape,
    hide_content,
    hide_from,
    hide_native,
)

CANARY = "canary-5e1f"


def record(message, *args, error=None, name="vllm.renderers.hf", level=logging.WARNING):
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.getLogRecordFactory()(name, level, "file.py", 1, message, args, info)


def caught(function):
    try:
        function()
    except KeyError as error:
        return error
    raise AssertionError("nothing was raised")


def parse():
    try:
        int(CANARY)
    except ValueError as error:
        raise KeyError(CANARY) from error


def test_describe_exception_has_types_and_code_of_the_whole_chain_and_no_message():
    text = describe_exception(caught(parse))
    assert CANARY not in text
    assert text.splitlines()[-1] == "KeyError"
    assert "\nValueError\n" in text
    assert "int(CANARY)" in text
    assert text.count("Traceback (most recent call last):") == 2


def test_describe_exception_leaves_out_a_context_that_is_suppressed():
    def suppress():
        try:
            int(CANARY)
        except ValueError:
            raise KeyError(CANARY) from None

    assert "ValueError" not in describe_exception(caught(suppress)).splitlines()


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "No such file", "/model"), ModuleNotFoundError("No module named 'x'")],
)
def test_describe_exception_keeps_messages_of_the_system(error):
    assert str(error) in describe_exception(error)


@pytest.mark.parametrize(
    ("message", "args", "expected"),
    [
        pytest.param("rejected: %s", (CANARY,), f"rejected: {HIDDEN}", id="text"),
        pytest.param("%d of %.1f", (3, 2.5), "3 of 2.5", id="numbers"),
        pytest.param("%s", (ValueError(CANARY),), "ValueError", id="exception"),
        pytest.param("%r", ([CANARY],), f"'{HIDDEN}'", id="list"),
        pytest.param("%(a)s %(b)d", ({"a": CANARY, "b": 2},), f"{HIDDEN} 2", id="mapping"),
        pytest.param("plain (text) <here>", (), "plain (text) <here>", id="no arguments"),
        pytest.param(ValueError(CANARY), (), HIDDEN, id="no text"),
    ],
)
def test_hide_content_keeps_the_message_and_its_numbers(message, args, expected):
    shown = record(message, *args)
    hide_content(shown)
    assert shown.getMessage() == expected


def test_hide_content_finds_the_message_of_an_exception_in_the_text():
    shown = record(f"failed: {CANARY}", error=ValueError(CANARY))
    hide_content(shown)
    assert logging.Formatter().format(shown) == "failed: ValueError\nValueError"


async def test_hide_content_of_what_the_event_loop_reports():
    """asyncio puts arguments of callbacks and exceptions of tasks into the text of its messages."""
    loop = asyncio.get_running_loop()
    shown = []
    handler = logging.Handler()
    handler.emit = shown.append  # type: ignore[assignment]
    log = logging.getLogger("asyncio")
    log.addHandler(handler)

    async def fail():
        raise ValueError(CANARY)

    try:
        loop.call_soon(int, CANARY)
        task = loop.create_task(fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
    finally:
        log.removeHandler(handler)
    assert len(shown) == 2
    assert all(CANARY in logging.Formatter().format(item) for item in shown)
    for item in shown:
        item.exc_text = None
        hide_content(item)
    texts = [logging.Formatter().format(item) for item in shown]
    assert texts[0].startswith("Exception in callback int\nTraceback")
    assert texts[1].startswith("Task exception was never retrieved\nTraceback")
    assert CANARY not in "".join(texts)


@pytest.fixture
def factory():
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize(
    ("name", "level", "hidden"),
    [
        ("vllm.renderers", logging.WARNING, True),
        ("vllm.renderers.hf", logging.ERROR, True),
        ("vllm.renderers_of_others", logging.ERROR, False),
        ("vllm.engine", logging.ERROR, False),
        ("vllm.renderers.hf", logging.INFO, False),
        ("vllm.renderers.shown", logging.ERROR, False),
    ],
)
def test_hide_from_affects_warnings_and_errors_of_the_named_loggers(factory, name, level, hidden):
    hide_from(["vllm.renderers"], shown=["vllm.renderers.shown"])
    assert (record("%s", CANARY, name=name, level=level).getMessage() == HIDDEN) is hidden


def test_hide_from_the_empty_name_affects_all_loggers(factory):
    hide_from([""])
    assert record("%s", CANARY, name="any").getMessage() == HIDDEN


class Kind(enum.Enum):
    FAST = CANARY


class Structure:
    """As msgspec makes them: fields without a `__dict__`."""

    __slots__ = __struct_fields__ = ("count", "stop")

    def __init__(self):
        self.count = 3
        self.stop = [CANARY]


@dataclasses.dataclass
class Request:
    name: str = CANARY
    tokens: tuple = (11, 22, 33)
    extra: dict = dataclasses.field(default_factory=lambda: {CANARY: CANARY})
    parameters: Structure = dataclasses.field(default_factory=Structure)
    kind: Kind = Kind.FAST
    data: bytes = CANARY.encode()
    temperature: float = 0.5
    adapter: None = None


def test_describe_shape_has_types_numbers_and_sizes_only():
    text = describe_shape([Request(), Request()])
    one = (
        "Request(name=<11 characters>, tokens=<3 items>, extra=<1 entries>, "
        "parameters=Structure(count=3, stop=<1 items>), kind=Kind.FAST, data=<11 bytes>, "
        "temperature=0.5)"
    )
    assert text == f"[{one}, {one}]"


def test_describe_shape_ends_where_objects_refer_to_each_other():
    first, second = Request(), Request()
    first.extra, second.extra = {"other": second}, {"other": first}
    assert len(describe_shape(first)) < 5000


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            f"[22:23:13] /project/cpp/json_schema_converter.cc:1499: Warning: got {CANARY}",
            f"[22:23:13] /project/cpp/json_schema_converter.cc:1499: Warning: {HIDDEN}",
        ),
        (f"[22:23:13] /a/b.cpp:7: {CANARY}", f"[22:23:13] /a/b.cpp:7: {HIDDEN}"),
        ("(EngineCore pid=1) INFO core.py:1: a line", "(EngineCore pid=1) INFO core.py:1: a line"),
        ("[22:23:13] loading", "[22:23:13] loading"),
    ],
)
def test_hide_native_keeps_the_place_in_a_line_of_a_library(line, shown):
    assert hide_native(line) == shown
