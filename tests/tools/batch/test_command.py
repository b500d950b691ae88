"""The command as a whole, against the local endpoint."""

import asyncio
import io
import json

import pytest
from rich.console import Console

from tests.support.ports import free_port
from worker_tools.batch import api as api_module
from worker_tools.batch import command as command_module
from worker_tools.batch.api import BatchClient
from worker_tools.batch.command import UsageError, find_target, run_batch
from worker_tools.batch.options import BatchOptions


def prepare(tmp_path, write_file, count=3, **options):
    path = write_file(tmp_path / "requests.jsonl", count)
    return BatchOptions(file=path, **options), Console(file=io.StringIO(), width=160)


async def call(options, console, **environ):
    status = await asyncio.to_thread(run_batch, environ, options, console=console)
    return status, console.file.getvalue()


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_batch_writes_answers_in_the_order_of_the_file(
    tmp_path, write_file, endpoint, line_worker
):
    options, console = prepare(tmp_path, write_file, 20, endpoint=endpoint.url, gpu="H100")
    status, text = await call(options, console)
    assert status == 0, text
    answers = read(tmp_path / "requests.output.jsonl")
    assert [answer["custom_id"] for answer in answers] == [f"r-{n}" for n in range(20)]
    assert [a["response"]["body"]["choices"][0]["text"] for a in answers] == [
        f"PROMPT {n}" for n in range(20)
    ]
    assert read(tmp_path / "requests.errors.jsonl") == []
    assert "20 answered, 0 failed" in text
    assert "60 in (20 cached), 40 out" in text
    assert "1 x H100" in text


async def test_batch_without_a_terminal_prints_its_progress(
    tmp_path, write_file, endpoint, line_worker, monkeypatch
):
    monkeypatch.setattr(command_module, "PRINT_S", 0.0)
    options, console = prepare(tmp_path, write_file, 20, endpoint=endpoint.url)
    status, text = await call(options, console)
    assert status == 0, text
    assert "requests.jsonl: 20 of 20 done, 0 failed" in text


async def test_batch_to_an_address_without_an_endpoint_says_so(tmp_path, write_file, monkeypatch):
    monkeypatch.setattr(api_module, "FIRST_PATIENCE_S", 0.2)
    monkeypatch.setattr(api_module, "FIRST_RETRY_S", 0.05)
    url = f"http://127.0.0.1:{free_port()}/v2/local"
    options, console = prepare(tmp_path, write_file, endpoint=url)
    status, text = await call(options, console)
    assert status == 5
    first, last = text.splitlines()
    assert first.startswith("RunPod cannot be reached: ")
    assert first.endswith("trying again for up to 0.2 s")
    assert last.startswith("worker batch: RunPod cannot be reached: ")
    assert last.endswith("run the same command again to resume")


async def test_batch_again_after_the_end_sends_nothing(tmp_path, write_file, endpoint, line_worker):
    options, console = prepare(tmp_path, write_file, endpoint=endpoint.url)
    await call(options, console)
    before = (tmp_path / "requests.output.jsonl").read_bytes()
    status, _ = await call(options, console)
    assert status == 0
    assert (tmp_path / "requests.output.jsonl").read_bytes() == before
    assert set(line_worker.processed.values()) == {1}


async def test_batch_with_failed_requests_writes_them_to_the_error_file(
    tmp_path, write_file, endpoint, line_worker
):
    error = {"message": "no", "status": 400, "code": "invalid_parameter", "custom_id": "r-1"}
    line_worker.broken["r-1"] = {"error": json.dumps({"error": error})}
    options, console = prepare(tmp_path, write_file, endpoint=endpoint.url, as_json=True)
    status, text = await call(options, console)
    assert status == 1
    [failure] = read(tmp_path / "requests.errors.jsonl")
    assert (failure["custom_id"], failure["response"]["status_code"]) == ("r-1", 400)
    summary = json.loads(text)
    assert (summary["answered"], summary["failed"], summary["usd"]) == (2, 1, None)


async def test_batch_with_invalid_lines_sends_nothing(tmp_path, endpoint):
    path = tmp_path / "requests.jsonl"
    path.write_text("{\n[]\n")
    console = Console(file=io.StringIO(), width=160)
    status, text = await call(BatchOptions(file=path, endpoint=endpoint.url), console)
    assert status == 2
    assert "line 1: not valid JSON" in text
    assert "line 2: not a JSON object" in text
    assert "nothing was sent" in text
    assert not endpoint.jobs
    assert not (tmp_path / "requests.jsonl.batch").exists()


async def test_batch_with_a_changed_file_is_refused(tmp_path, write_file, endpoint, line_worker):
    options, console = prepare(tmp_path, write_file, endpoint=endpoint.url)
    await call(options, console)
    write_file(options.file, 4)
    status, text = await call(options, console)
    assert status == 1
    assert "file with other content" in text
    assert len(line_worker.processed) == 3


async def test_batch_while_another_one_runs_is_refused(tmp_path, write_file, endpoint):
    options, console = prepare(tmp_path, write_file, endpoint=endpoint.url)
    first = asyncio.create_task(call(options, Console(file=io.StringIO())))
    while not (tmp_path / "requests.jsonl.batch" / "state.json").exists():
        await asyncio.sleep(0.01)
    status, text = await call(options, console)
    assert status == 1
    assert "another `worker batch`" in text
    while not endpoint.store.queued_of_batches():
        await asyncio.sleep(0.01)
    async with BatchClient(endpoint.url, None) as client:
        [job] = list(endpoint.jobs.values())[:1]
        await client.cancel(job.request.batch_id)
    assert (await first)[0] == 1


async def test_check_sends_nothing_and_needs_no_endpoint(tmp_path, write_file):
    options, console = prepare(tmp_path, write_file, check=True)
    assert await call(options, console) == (0, f"{options.file}: 3 requests, all valid\n")


async def test_batch_without_file_names_it(tmp_path):
    options = BatchOptions(file=tmp_path / "none.jsonl", endpoint="http://127.0.0.1:1/v2/x")
    status, text = await call(options, Console(file=io.StringIO(), width=300))
    assert status == 2
    assert "none.jsonl: No such file" in text


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({"output": "missing/a.jsonl"}, "--output: the folder {folder}/missing does not exist"),
        ({"errors": "."}, "--errors: {folder} is a folder"),
        ({"output": "requests.jsonl"}, "--output: {folder}/requests.jsonl is also the input file"),
        ({"output": "a", "errors": "./a"}, "--errors: {folder}/a is also --output"),
        ({"errors": "requests.output.jsonl"}, "is also --output"),
    ],
)
async def test_batch_with_an_unusable_file_for_results_sends_nothing(
    tmp_path, write_file, endpoint, paths, message
):
    chosen = {name: tmp_path / path for name, path in paths.items()}
    options, console = prepare(tmp_path, write_file, endpoint=endpoint.url, **chosen)
    before = options.file.read_bytes()
    status, text = await call(options, console)
    assert status == 2
    assert message.format(folder=tmp_path) in text.replace("\n", "")
    assert not endpoint.jobs
    assert options.file.read_bytes() == before


@pytest.mark.parametrize(
    ("endpoint", "environ", "message"),
    [
        (None, {}, "--endpoint is missing"),
        ("abc123", {}, "RUNPOD_API_KEY is not set"),
        ("abc123", {"RUNPOD_API_KEY": "a b"}, "copy it again"),
        ("http://example.com/v2/x", {"RUNPOD_API_KEY": "k"}, "not encrypted"),
        ("ftp://example.com", {"RUNPOD_API_KEY": "k"}, "expected an id"),
        ("https://user:pass@example.com/v2/x", {"RUNPOD_API_KEY": "k"}, "expected an id"),
    ],
)
def test_find_target_refuses_what_it_cannot_use(endpoint, environ, message):
    with pytest.raises(UsageError, match=message):
        find_target(environ, endpoint)


def test_find_target_takes_id_or_url():
    key = {"RUNPOD_API_KEY": " k "}
    assert find_target(key, "abc123").url == "https://api.runpod.ai/v2/abc123"
    assert find_target(key, "abc123").key == "k"
    base = {**key, "RUNPOD_ENDPOINT_BASE_URL": "http://127.0.0.1:8000/v2/"}
    assert find_target(base, "local").url == "http://127.0.0.1:8000/v2/local"
    assert find_target(base, "local").key is None


def test_unknown_gpu_is_refused_with_the_nearest_name(tmp_path, write_file):
    options, console = prepare(tmp_path, write_file, gpu="H10")
    assert run_batch({}, options, console=console) == 2
    assert "H100" in console.file.getvalue()
