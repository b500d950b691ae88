import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest

from worker.logs import LONGEST_MESSAGE, about_job, configure_logging, keep_output_writable
from worker.redaction import REDACTED, Redactor


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The worker's logger, which is as it was afterwards."""
    worker = logging.getLogger("worker")
    before = worker.handlers, worker.level, worker.propagate
    yield logging.getLogger("worker.some.module")
    worker.handlers, worker.propagate = before[0], before[2]
    worker.setLevel(before[1])


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


def test_configure_logging_redacts_messages_arguments_and_tracebacks(logger, capsys):
    configure_logging("info", Redactor(["hf_secret"]))
    try:
        raise ValueError("inside hf_secret")
    except ValueError:
        logger.exception("in %s", "hf_secret")
    printed = capsys.readouterr().err
    assert f"in {REDACTED}" in printed
    assert f"ValueError: inside {REDACTED}" in printed
    assert "hf_secret" not in printed


def test_configure_logging_leaves_other_loggers_alone(logger, capsys):
    configure_logging("debug", Redactor([]))
    logging.getLogger("elsewhere").info("not ours")
    assert "not ours" not in capsys.readouterr().err


def test_configure_logging_as_json_writes_the_platforms_lines(logger, capsys):
    configure_logging("info", Redactor(["hf_secret"]), as_json=True)
    logger.info("a\n%s", "hf_secret", extra=about_job("job-1"))
    logger.warning("b" * 2 * LONGEST_MESSAGE)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert first == {"requestId": "job-1", "message": f"a\n{REDACTED}", "level": "INFO"}
    assert second["requestId"] is None
    assert len(second["message"]) == LONGEST_MESSAGE


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_keep_output_writable_prints_on_when_the_reader_is_gone(monkeypatch, name):
    reader, end = os.pipe()
    with os.fdopen(end, "w") as stream:
        monkeypatch.setattr(sys, name, stream)
        keep_output_writable()
        lasting = getattr(sys, name)
        print("seen \ud800", file=lasting, flush=True)
        assert os.read(reader, 100) == b"seen \\ud800\n"
        os.close(reader)
        for _ in range(3):
            print("x" * 100_000, file=lasting, flush=True)
        assert os.readlink(f"/proc/self/fd/{end}") == os.devnull


def test_keep_output_writable_loses_what_a_full_disk_does_not_take(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        keep_output_writable()
        print("lost", flush=True)
        assert os.readlink(f"/proc/self/fd/{full.fileno()}") == "/dev/full"


def test_keep_output_writable_leaves_a_stream_without_descriptor(capsys):
    before = sys.stdout
    keep_output_writable()
    assert sys.stdout is before
