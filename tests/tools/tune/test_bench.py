"""`worker bench` against a server that lists models, with the fake of vLLM's client."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.ports import free_port
from worker.errors import ExitCode
from worker_tools.tune.bench import run_bench
from worker_tools.tune.options import BenchOptions
from worker_tools.tune.target import Target
from worker_tools.tune.workers import WorkerWatch, count_ready

LINE = '{"custom_id": "%s", "method": "POST", "url": "%s", "body": {%s}}\n'
CHAT = '"messages": [{"role": "user", "content": "a secret"}], "max_tokens": 8'


def bench(environ, url, **options) -> tuple[int, str]:
    out = io.StringIO()
    console = Console(file=out, width=200)
    status = run_bench(environ, BenchOptions(url=url, **options), console=console)
    return status, out.getvalue()


def test_table(server, environ):
    status, printed = bench(environ, server, gpu="H100")
    assert status == ExitCode.OK, printed
    assert "tiny, 512 random tokens in, 128 out, 8 at once" in printed
    assert "64 answered, 0 failed" in printed
    assert "p50 28.0 ms, p95 30.8 ms" in printed
    assert "not known, since this is not a RunPod queue" in printed
    assert "per million tokens out" in printed
    assert "1 x H100" in printed


def test_json(server, environ):
    status, printed = bench(environ, server, as_json=True, requests=16, concurrency=4, gpu="H100")
    assert status == ExitCode.OK
    data = json.loads(printed[printed.index("{") :])
    assert data["completed"] == 16
    assert data["load"] == {"requests": 16, "concurrency": 4, "rate": None}
    assert data["output_tokens_per_s"] == pytest.approx(16 * 128 / data["seconds"], abs=0.01)
    usd = 0.00116 / data["output_tokens_per_s"] * 1e6
    assert data["usd_per_million_output"] == pytest.approx(usd, rel=1e-4)
    assert data["cold_starts"] is None


def test_price_is_unknown_without_a_gpu(server, environ, monkeypatch):
    monkeypatch.setattr("worker_tools.tune.session.find_device_pool", lambda _: None)
    assert "name the endpoint's GPU by --gpu" in bench(environ, server)[1]
    assert "no published price for 1 x 5090" in bench(environ, server, gpu="RTX 5090")[1]


def test_cold_start_of_a_queue(server, environ, set_health):
    set_health(idle=0, initializing=1)
    status, printed = bench(environ, f"{server}/v2/cold", requests=9)
    assert status == ExitCode.OK, printed
    assert "10 of 10 requests (100%) were sent while no worker was ready" in printed
    assert "41.0 s of it in RunPod's queue" in printed


def test_no_cold_start(server, environ, set_health):
    set_health(ready=1)
    printed = bench(environ, f"{server}/v2/cold", requests=9, as_json=True)[1]
    data = json.loads(printed[printed.index("{") :])
    assert data["cold_starts"] == {"cold": 0, "requests": 10, "share": 0.0}
    assert data["first_request_delay_s"] == 41.0


def test_only_the_requests_before_a_worker_was_ready_are_cold():
    watch = WorkerWatch(Target("http://host"))
    assert watch.count([1.0]) is None
    for at_s, ready in ((10.0, 0), (11.0, 0), (12.0, 1)):
        watch.record(at_s, ready)
    found = watch.count([10.5, 11.9, 12.1, 30.0])
    assert (found.cold, found.requests) == (3, 5)


@pytest.mark.parametrize(
    ("states", "ready"),
    [
        ({"idle": 1, "running": 2}, 3),
        ({"ready": 3, "idle": 1, "running": 2}, 3),
        ({"initializing": 2, "throttled": 1}, 0),
        ({}, 0),
    ],
)
def test_workers_that_are_ready(states, ready):
    assert count_ready({"workers": states}) == ready


def test_failed_requests(server, environ):
    environ["FAKE_FAIL_FROM"] = "8"
    status, printed = bench(environ, server, requests=32)
    assert status == ExitCode.FAILURE
    assert "0 answered, 32 failed" in printed
    assert "8 x TooManyRequests: 429" in printed
    assert "24 x not sent after the failures before it" in printed
    assert "First token" not in printed


def test_timeout_of_a_request(server, environ):
    environ["FAKE_S"] = "30"
    status, printed = bench(environ, server, requests=1, concurrency=1, timeout=0.1)
    assert status == ExitCode.FAILURE
    assert "1 x no answer within 0.1 s" in printed


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines))
    return path


def test_own_requests(server, environ, tmp_path):
    file = write(tmp_path / "own.jsonl", LINE % ("1", "/v1/chat/completions", CHAT))
    status, printed = bench(environ, server, requests_file=file, requests=16)
    assert status == ExitCode.OK, printed
    assert "requests of own.jsonl" in printed
    assert "16 answered" in printed


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [
                LINE % ("1", "/v1/chat/completions", CHAT),
                LINE % ("2", "/v1/completions", '"prompt": "x"'),
            ],
            "requests of one route",
        ),
        ([LINE % ("1", "/v1/completions", '"prompt": "too long"')], "90000 tokens are too many"),
        ([LINE % ("1", "/v1/embeddings", '"input": "x"')], "this file has /v1/embeddings"),
        ([LINE % ("1", "/v1/chat/completions", '"prompt": "x"')], "line 1: "),
    ],
)
def test_own_requests_that_cannot_be_sent(server, environ, tmp_path, lines, said):
    file = write(tmp_path / "own.jsonl", *lines)
    status, printed = bench(environ, server, requests_file=file)
    assert status in (ExitCode.CONFIGURATION, ExitCode.FAILURE)
    assert said in printed


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ({"model": "none"}, 2, "the endpoint has no 'none'; it has tiny, other"),
        ({"prompt_tokens": 2000}, 2, "2128 tokens of prompt and answer are more than the 2048"),
        ({"gpu": "H1000"}, 2, "no RunPod pool has a GPU named 'H1000'. Did you mean"),
        ({"tokenizer": "missing"}, 1, "the tokenizer missing cannot be loaded here, name another"),
        ({"requests_file": Path("/none.jsonl")}, 5, "/none.jsonl: No such file"),
    ],
)
def test_command_line_that_cannot_be_used(server, environ, options, status, said):
    assert said in (found := bench(environ, server, **options))[1]
    assert found[0] == status


def test_endpoint_that_is_dead(environ):
    status, printed = bench(environ, f"http://127.0.0.1:{free_port()}")
    assert status == ExitCode.UNAVAILABLE
    assert "cannot be reached" in printed
    assert "Traceback" not in printed


def test_key_is_in_no_message_and_reaches_the_client_by_its_environment(server, environ):
    environ["OPENAI_API_KEY"] = "wrong"
    status, printed = bench(environ, server, requests=2)
    assert status == ExitCode.FAILURE
    assert "2 x Unauthorized" in printed
    assert "wrong" not in printed


def test_vllm_that_is_missing(server, environ):
    folder = Path(environ["HOME"]) / "vllm"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'vllm'\")")
    environ["PYTHONPATH"] = environ["HOME"]
    status, printed = bench(environ, server)
    assert status == ExitCode.UNAVAILABLE
    assert "pip install 'runpod-vllm-worker[cpu]'" in printed
