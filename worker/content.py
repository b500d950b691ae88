"""Removes request content from logs: they show the failed code and the size of its data only.

Messages of exceptions and arguments of log calls often repeat a prompt, an answer, a header or a
body. What is left says where a failure is: the type of the exception and the code that it passed.
"""

from __future__ import annotations

import enum
import logging
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

HIDDEN = "[hidden]"

MAX_DEPTH = 6
"""Levels of a described object; further ones are left out."""


def describe_exception(error: BaseException) -> str:
    """Return a traceback with its causes, and only the operating system's messages."""
    return "\n".join(_describe_chain(error))


def _describe_chain(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _describe_chain(cause)
        yield "\nThe exception above led to this one:\n"
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):"
        yield "".join(traceback.format_tb(error.__traceback__)).rstrip("\n")
    yield describe_error(error)


def describe_error(error: BaseException) -> str:
    """Return an exception's type, and its message if it is the operating system's."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    return f"{name}: {error}" if isinstance(error, (OSError, ImportError)) else name


def hide_content(record: logging.LogRecord) -> None:
    """Remove all request content from a log record."""
    hide_messages(record)
    if isinstance(record.args, Mapping):
        record.args = {name: _hide(value) for name, value in record.args.items()}
    elif record.args:
        record.args = tuple(_hide(value) for value in record.args)
    elif not isinstance(record.msg, str):
        record.msg = HIDDEN
    elif record.name == "asyncio":
        # The text has a callback with its arguments, or a task with its exception.
        record.msg = re.split(r"[\n<(]", record.msg, maxsplit=1)[0]


def hide_messages(record: logging.LogRecord) -> None:
    """Replace the exception of a log record by its description without messages."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is not None:
        record.exc_text = describe_exception(error)
        if isinstance(record.msg, str) and (message := str(error)):
            record.msg = record.msg.replace(message, describe_error(error))
    record.exc_info = None


NATIVE_LINE = re.compile(r"\[\d\d:\d\d:\d\d\] \S+\.(?:cc|cpp|h|cu):\d+: (?:\w+: )?")
"""Start of a log line of a C++ library, such as vLLM's grammar compiler."""


def hide_native(line: str) -> str:
    """Return a line of vLLM's output; of one that a C++ library wrote, only where that was.

    Such a library has no logger, and its warnings repeat schemas and grammars.
    """
    found = NATIVE_LINE.match(line)
    return f"{found[0]}{HIDDEN}" if found else line


def is_below(name: str, loggers: Sequence[str]) -> bool:
    """Return whether the logger `name` is one of `loggers` or below one of them."""
    return any(name == logger or name.startswith(f"{logger}.") for logger in loggers)


def hide_from(loggers: Sequence[str], shown: Sequence[str] = ()) -> None:
    """Hide request content in what this process logs from now on, whatever handler prints it.

    Debug and information messages are unchanged; those with content are disabled by default.

    Args:
        loggers: Names of loggers; an empty name stands for all.
        shown: Loggers below them that stay as they are.
    """
    make_record = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        name = record.name
        affected = "" in loggers or is_below(name, loggers)
        if affected and record.levelno >= logging.WARNING and not is_below(name, shown):
            hide_content(record)
        return record

    logging.setLogRecordFactory(make)


def describe_shape(value: Any, depth: int = MAX_DEPTH) -> str:
    """Return the types, numbers and sizes in an object, without texts, names and tokens."""
    if value is None or isinstance(value, (bool, int, float)):
        return str(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, (str, bytes, bytearray)):
        return f"<{len(value)} {'characters' if isinstance(value, str) else 'bytes'}>"
    if isinstance(value, Mapping):
        return f"<{len(value)} entries>"
    if isinstance(value, (list, tuple, set, frozenset)):
        if not depth or not all(_fields(item) for item in value):
            return f"<{len(value)} items>"
        return f"[{', '.join(describe_shape(item, depth - 1) for item in value)}]"
    fields = _fields(value) if depth else {}
    parts = [
        f"{name}={describe_shape(item, depth - 1)}"
        for name, item in fields.items()
        if item is not None
    ]
    return f"{type(value).__name__}({', '.join(parts)})"


def _fields(value: object) -> dict[str, Any]:
    """Return the attributes of an object, also of a msgspec structure, which has no `__dict__`."""
    if isinstance(value, enum.Enum):
        return {}
    names = getattr(type(value), "__struct_fields__", None)
    if names is not None:
        return {name: getattr(value, name) for name in names}
    found = getattr(value, "__dict__", None)
    return dict(found) if isinstance(found, dict) else {}


def _hide(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return describe_error(value) if isinstance(value, BaseException) else HIDDEN
