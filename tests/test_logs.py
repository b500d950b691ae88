import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from worker.logs import (
    MAX_MESSAGE_CHARS,
    configure_logging,
    ignore_broken_output,
    job_extra,
    redact_output,
)
from worker.redaction import REDACTED, Redactor


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """One of the worker's loggers; logging is as it was afterwards."""
    root, worker = logging.getLogger(), logging.getLogger("worker")
    before = root.handlers, root.level, worker.level
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield logging.getLogger("worker.some.module")
    root.handlers = before[0]
    root.setLevel(before[1])
    worker.setLevel(before[2])
    logging.captureWarnings(capture=False)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["a", "b", "c", "d"]),
        ("info", ["b", "c", "d"]),
        ("WARNING", ["c", "d"]),
        ("error", ["d"]),
    ],
)
def test_configure_logging_shows_the_level_and_above_once_on_stderr(logger, capsys, level, shown):
    configure_logging("debug", Redactor([]))
    configure_logging(level, Redactor([]))
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    logger.error("d")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split()[-1] for line in captured.err.splitlines()] == shown


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("name", ["worker.some.module", "aiohttp.server", "any.library", ""])
def test_configure_logging_redacts_the_lines_of_every_logger(logger, capsys, name, as_json):
    configure_logging("info", Redactor(["hf_secret", "two\nlines"]), as_json=as_json)
    try:
        raise OSError("inside hf_secret")
    except OSError:
        logging.getLogger(name).exception("in hf_secret, %s and %r", "hf_secret", "two\nlines")
    printed = capsys.readouterr().err
    assert f"in {REDACTED}" in printed
    assert f"OSError: inside {REDACTED}" in printed
    assert "hf_secret" not in printed
    assert "two" not in printed


@pytest.mark.parametrize("name", ["worker.some.module", "aiohttp.server", "any.library"])
def test_configure_logging_shows_no_message_of_an_exception(logger, capsys, name):
    configure_logging("info", Redactor([]))
    try:
        raise ValueError("the prompt")
    except ValueError:
        logging.getLogger(name).exception("failed")
    printed = capsys.readouterr().err
    assert printed.endswith("\nValueError\n")
    assert "in test_configure_logging_shows_no_message" in printed
    assert printed.count("the prompt") == 1  # the line of this file


def test_configure_logging_shows_warnings_of_libraries_and_no_more(logger, capsys):
    configure_logging("debug", Redactor([]))
    logging.getLogger("elsewhere").info("not ours")
    logging.getLogger("elsewhere").warning("theirs")
    printed = capsys.readouterr().err
    assert "not ours" not in printed
    assert printed.endswith("WARNING theirs\n")


@pytest.mark.parametrize("kind", ["process", "thread", "ignored", "warning"])
def test_configure_logging_reports_what_python_reports_by_itself(logger, capsys, kind):
    configure_logging("info", Redactor(["hf_secret"]))
    error = OSError("hf_secret")
    if kind == "process":
        sys.excepthook(OSError, error, None)
    elif kind == "thread":
        threading.excepthook(threading.ExceptHookArgs((OSError, error, None, None)))
    elif kind == "ignored":
        sys.unraisablehook(SimpleNamespace(exc_value=error))
    else:
        warnings.showwarning("about hf_secret", UserWarning, "file.py", 1)
    printed = capsys.readouterr().err
    assert REDACTED in printed
    assert "hf_secret" not in printed


def test_configure_logging_as_json_writes_the_platforms_lines(logger, capsys):
    configure_logging("info", Redactor(["hf_secret"]), as_json=True)
    logger.info("a\n%s", "hf_secret", extra=job_extra("job-1"))
    logger.warning("b" * 2 * MAX_MESSAGE_CHARS)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first == {"requestId": "job-1", "message": f"a\n{REDACTED}", "level": "INFO"}
    assert second["requestId"] is None
    assert len(second["message"]) == MAX_MESSAGE_CHARS


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_ignore_broken_output_prints_on_when_the_reader_is_gone(monkeypatch, name):
    reader, end = os.pipe()
    with os.fdopen(end, "w") as stream:
        monkeypatch.setattr(sys, name, stream)
        ignore_broken_output()
        lasting = getattr(sys, name)
        print("seen \ud800", file=lasting, flush=True)
        assert os.read(reader, 100) == b"seen \\ud800\n"
        os.close(reader)
        for _ in range(3):
            print("x" * 100_000, file=lasting, flush=True)
        assert os.readlink(f"/proc/self/fd/{end}") == os.devnull


def test_ignore_broken_output_loses_what_a_full_disk_does_not_take(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        ignore_broken_output()
        print("lost", flush=True)
        assert os.readlink(f"/proc/self/fd/{full.fileno()}") == "/dev/full"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_redact_output_hides_secrets_in_all_that_is_printed(monkeypatch, tmp_path, name):
    path = tmp_path / "printed"
    with path.open("w") as stream:
        monkeypatch.setattr(sys, name, stream)
        ignore_broken_output()
        lasting = getattr(sys, name)
        redact_output(Redactor(["hf_secret", "first line\nsecond line"]))
        print("a hf_secret", "b", file=lasting)
        print("hf_", "secret", sep="", end="", file=lasting)
        print("\nfirst line\nsecond line", file=lasting)
        print("rest hf_secret", end="\r", file=lasting, flush=True)
        assert path.read_bytes().decode() == (
            f"a {REDACTED} b\n{REDACTED}\n{REDACTED}\n{REDACTED}\nrest {REDACTED}\r"
        )


def test_ignore_broken_output_leaves_a_stream_without_descriptor(capsys):
    before = sys.stdout
    ignore_broken_output()
    assert sys.stdout is before
