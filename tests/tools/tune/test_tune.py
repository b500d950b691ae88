"""`worker tune` against a server that lists models, with the fake of vLLM's client."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.markdown import read_blocks
from worker.errors import ExitCode
from worker_tools.batch.command import INTERRUPTED
from worker_tools.tune.options import TuneOptions
from worker_tools.tune.tune import count_requests, run_tune

PAGE = Path(__file__).parents[3] / "docs" / "tune.md"


@pytest.fixture
def page(tmp_path) -> Path:
    return tmp_path / "tune.html"


def tune(environ, url, page, **options) -> tuple[int, str]:
    out = io.StringIO()
    console = Console(file=out, width=200)
    options = {"seconds": 0.2, "gpu": "H100", "output": page, **options}
    status = run_tune(environ, TuneOptions(url=url, **options), console=console)
    return status, out.getvalue()


def loads(page: Path) -> list[int]:
    points = json.loads(page.with_suffix(".json").read_text())["points"]
    return [point["load"]["concurrency"] for point in points]


def test_choices_and_page(server, environ, page):
    status, printed = tune(environ, server, page)
    assert status == ExitCode.OK, printed
    assert loads(page) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert "knee (the most throughput for its latency" in printed
    assert "MAX_NUM_SEQS=32\nMAX_CONCURRENCY=32\n" in printed
    assert "RunPod's request count (REQUEST_COUNT): 32" in printed
    assert "--env MAX_NUM_SEQS=32 --env MAX_CONCURRENCY=32 --scale-by requests" in printed
    assert "$4.18 an hour" in printed
    text = page.read_text()
    assert "MAX_NUM_SEQS=32" in text
    assert "https://" not in text.replace("https://docs.runpod.io", "").replace(
        "https://github.com/leeoniya/uPlot", ""
    )


def test_json_has_the_same(server, environ, page):
    status, printed = tune(environ, server, page, as_json=True, concurrency="8,1")
    assert status == ExitCode.OK
    data = json.loads(printed[printed.index("{\n") :])
    assert [point["at_once"] for point in data["measurements"]] == [1, 8]
    [knee, cheapest] = data["choices"]
    assert knee["settings"] == {"MAX_NUM_SEQS": 8, "MAX_CONCURRENCY": 8}
    assert cheapest["settings"] == {"MAX_NUM_SEQS": 8, "MAX_CONCURRENCY": 10}
    tokens_per_s = data["measurements"][1]["output_tokens_per_s"]
    usd = 0.00116 / tokens_per_s * 1e6
    assert knee["usd_per_million_output"] == pytest.approx(usd, rel=1e-4)
    assert data["page"] == str(page)


def test_target(server, environ, page):
    status, printed = tune(environ, server, page, max_time_per_token=6.2)
    assert status == ExitCode.OK
    assert "target (the most throughput within your target): 6 at once" in printed


def test_target_that_no_load_keeps(server, environ, page):
    status, printed = tune(environ, server, page, max_first_token=1)
    assert status == ExitCode.FAILURE
    assert "No load keeps the target (first token within 1 ms): 1 at once" in printed
    assert "No load keeps the target" in page.read_text()


def test_rates(server, environ, page):
    status, printed = tune(environ, server, page, rates="2,8")
    assert status == ExitCode.OK, printed
    assert "2 per s: " in printed
    assert "8 per s: " in printed


def test_largest_load_that_still_grows_is_said(server, environ, page):
    assert "throughput may grow above 8" in tune(environ, server, page, most=8)[1]
    assert "throughput may grow" not in tune(environ, server, page, most=64, again=True)[1]


def test_several_workers_are_said(server, environ, page, set_health):
    set_health(running=2)
    printed = tune(environ, f"{server}/v2/cold", page, concurrency="1")[1]
    assert "2 workers answered, and the settings are for one" in printed


def test_own_requests_that_repeat_are_said(server, environ, page, tmp_path):
    body = '{"custom_id":"1","method":"POST","url":"/v1/completions","body":{"prompt":"x"}}'
    (file := tmp_path / "own.jsonl").write_text(body)
    printed = tune(environ, server, page, requests_file=file, concurrency="1")[1]
    assert "the file has fewer requests than were sent" in printed


def test_same_command_goes_on_and_measures_failures_again(server, environ, page):
    environ["FAKE_FAIL_FROM"] = "8"
    status, printed = tune(environ, server, page)
    assert status == ExitCode.OK
    assert loads(page) == [1, 2, 4, 8]
    assert "16 failed (TooManyRequests: 429" in printed
    del environ["FAKE_FAIL_FROM"]
    status, printed = tune(environ, server, page)
    assert printed.count("(measured before)") == 3
    assert loads(page) == [1, 2, 4, 8, 16, 32, 64, 128]


def test_measurements_of_another_workload_are_not_mixed_in(server, environ, page):
    tune(environ, server, page, concurrency="1")
    status, printed = tune(environ, server, page, concurrency="1", prompt_tokens=64)
    assert status == ExitCode.CONFIGURATION
    assert "tune.json has the measurements of tiny at http" in printed
    assert "512 random tokens in" in printed
    status, printed = tune(environ, server, page, concurrency="1", prompt_tokens=64, again=True)
    assert status == ExitCode.OK


def test_file_that_is_no_measurement(server, environ, page):
    page.with_suffix(".json").write_text('{"own": 1}')
    status, printed = tune(environ, server, page)
    assert status == ExitCode.CONFIGURATION
    assert "has no measurements of this command" in printed
    assert page.with_suffix(".json").read_text() == '{"own": 1}'


def test_nothing_is_answered(server, environ, page):
    environ["FAKE_FAIL_FROM"] = "1"
    status, printed = tune(environ, server, page)
    assert status == ExitCode.FAILURE
    assert "none of 8 requests was answered: 8 x TooManyRequests: 429; send one" in printed
    assert not page.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": "1", "rates": "1"}, "exclude each other"),
        ({"concurrency": "1,x"}, "take numbers"),
        ({"rates": "0"}, "numbers above zero"),
        ({"rates": "nan"}, "numbers above zero"),
    ],
)
def test_loads_that_cannot_be_used(environ, page, options, said):
    status, printed = tune(environ, "http://127.0.0.1:9", page, **options)
    assert status == ExitCode.CONFIGURATION
    assert said in printed


def test_configuration_of_a_local_start_is_checked_first(environ, page):
    environ |= {"MODEL_NAME": "/none", "MAX_MODEL_LEN": "many"}
    status, printed = tune(environ, None, page)
    assert status == ExitCode.CONFIGURATION
    assert "MAX_MODEL_LEN" in printed


@pytest.mark.parametrize(
    ("concurrency", "seconds", "count"), [(1, 0.1, 8), (1, 20, 16), (8, 20, 128), (64, 0.1, 128)]
)
def test_requests_of_a_measurement(concurrency, seconds, count):
    assert count_requests(concurrency, [], one_ms=50, seconds=seconds) == count


def test_interrupt_keeps_what_was_measured(server, environ, page):
    environ["FAKE_S"] = "0.1"
    command = [sys.executable, "-m", "worker", "tune", server, "--seconds", "0.1", "--gpu", "H100"]
    process = subprocess.Popen(
        command,
        cwd=page.parent,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A shell ignores SIGINT in a command that it runs in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    saved = page.with_suffix(".json")
    deadline = time.monotonic() + 60
    while not saved.exists() or len(loads(page)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    printed = process.communicate(timeout=30)[0].decode()
    assert process.returncode == INTERRUPTED, printed
    assert "Interrupted. The same command resumes" in printed
    assert "MAX_NUM_SEQS=" in printed
    assert "MAX_NUM_SEQS=" in page.read_text()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("missing/tune.html", "--output: the folder {folder}/missing does not exist"),
        ("tune.json", "--output: {folder}/tune.json is also its file of measurements"),
        (".", "--output: {folder} is a folder"),
    ],
)
def test_page_that_cannot_be_written_is_refused_before_measuring(
    server, environ, tmp_path, output, message
):
    status, text = tune(environ, server, tmp_path / output)

    assert status == ExitCode.CONFIGURATION
    assert text.replace("\n", "") == f"worker tune: {message.format(folder=tmp_path)}"
    assert list(tmp_path.iterdir()) == []


def test_commands_of_the_page_run(server, environ, tmp_path):
    body = '{"custom_id":"1","method":"POST","url":"/v1/completions","body":{"prompt":"x"}}'
    (tmp_path / "requests.jsonl").write_text(body)
    commands = [block.text for block in read_blocks(PAGE) if block.language == "sh"]
    remote = [command for command in commands if "worker tune\n" not in f"{command}\n"]
    # tests/e2e/test_tune.py runs the one that starts a worker.
    assert (len(remote), len(commands)) == (4, 5)
    for number, command in enumerate(remote):
        text = command.strip().replace("http://127.0.0.1:8000", server)
        text = text.replace("ENDPOINT_ID", f"{server}/v2/cold").replace("1000", "100")
        if "worker tune" in text:
            text += f" --seconds 0.1 --most 2 --output {number}.html"
        done = subprocess.run(
            ["bash", "-euc", text], cwd=tmp_path, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "tokens/s out, " in done.stdout or "MAX_NUM_SEQS=" in done.stdout
