"""A small benchmark of chat and of completion, streamed, with its report read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

GUIDELLM = Path(sys.executable).with_name("guidellm")
REQUESTS = 4

pytestmark = pytest.mark.timeout(300)  # most of it is the import of torch, in three processes


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_benchmark_gets_an_answer_to_every_request(endpoint, tmp_path, path):
    report = tmp_path / "report.json"
    backend = f"kind=openai_http,target={endpoint.url}/openai,model={endpoint.model}"
    command = [
        *(GUIDELLM, "run", "--disable-console-interactive"),
        *("--backend", f"{backend},request_format={path},api_key=local"),
        *("--profile", "kind=synchronous"),
        *("--constraint", f"kind=max_requests,count={REQUESTS}"),
        *("--tokenizer", f"kind=huggingface_auto,model={os.environ['CLIENTS_TOKENIZER']}"),
        *("--data", "kind=synthetic_text,prompt_tokens=16,output_tokens=8"),
        *("--output", f"kind=json,path={report}"),
    ]
    environ = {**os.environ, "GUIDELLM__MAX_WORKER_PROCESSES": "1"}  # each imports torch
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [benchmark] = json.loads(report.read_text())["benchmarks"]
    totals = benchmark["metrics"]["request_totals"]
    # On a slow machine GuideLLM may end its run while the last request is still processed.
    running = benchmark["scheduler_state"]["processing_requests"]
    assert running <= 1
    assert (totals["successful"] + running, totals["errored"]) == (REQUESTS, 0)
