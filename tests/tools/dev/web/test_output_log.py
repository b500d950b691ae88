"""Lines of the workers, and the phases of a start in them."""

from worker_tools.dev.web import output_log
from worker_tools.dev.web.output_log import OutputLog

START = (
    "12:00:00 INFO starting vLLM with tiny",
    "12:00:05 INFO engine,  4.8 s: importing vLLM",
    "12:00:06 INFO engine,  5.9 s: ready",
)
REPORT = 'start: {"event": "ready", "seconds": 6.1, "phases": {"importing vLLM": 4.8}}'


def test_lines_are_kept_by_job_and_bounded(monkeypatch):
    monkeypatch.setattr(output_log, "LINES_PER_JOB", 2)
    log = OutputLog()
    for number in range(4):
        log.add("w", f'{{"requestId": "j", "message": "m{number}", "level": "WARNING"}}')
    lines = log.of_job("j")
    assert [line["text"] for line in lines] == ["m0", "m1"]
    assert lines[0]["level"] == "WARNING"
    assert log.of_job("other") == []


def test_oldest_job_is_dropped(monkeypatch):
    monkeypatch.setattr(output_log, "MOST_JOBS", 1)
    log = OutputLog()
    for job in ("a", "b"):
        log.add("w", f'{{"requestId": "{job}", "message": "m", "level": "INFO"}}')
    assert (log.of_job("a"), len(log.of_job("b"))) == ([], 1)


def test_line_that_is_no_log_entry_is_kept_as_it_is():
    log = OutputLog()
    for line in ("plain", "{broken", '{"a": 1}', "x" * 10_000):
        log.add("w", line)
    texts = [line["text"] for line in log.after(0)]
    assert texts[:3] == ["plain", "{broken", '{"a": 1}']
    assert len(texts[3]) == output_log.MAX_LINE_LENGTH


def test_line_with_half_a_surrogate_pair_can_be_sent():
    log = OutputLog()
    log.add("w", '{"requestId": null, "message": "a\\ud800b", "level": "INFO"}')
    assert log.after(0)[0]["text"] == "a?b"


def test_start_is_read_from_one_worker():
    log = OutputLog()
    for line in START:
        log.add("worker-1", line)
        log.add("worker-2", line)
    assert [(phase["at_s"], phase["name"]) for phase in log.phases] == [
        (4.8, "importing vLLM"),
        (5.9, "ready"),
    ]
    log.add("worker-1", f'{{"requestId": null, "message": {REPORT!r}, "level": "INFO"}}')
    assert log.report is None  # Python's quotes are not JSON
    log.add("worker-1", f"12:00:06 INFO {REPORT}")
    assert log.report["seconds"] == 6.1  # type: ignore[index]
    log.begin_start()
    assert (log.report, log.phases) == (None, [])
