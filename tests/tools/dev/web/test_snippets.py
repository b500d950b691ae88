"""Code to paste: it parses, it has the request unchanged, and it fits OpenAI's client."""

import ast
import inspect
import json
import shlex
import shutil
import subprocess
from typing import Any

import openai
import pytest

from worker_tools.dev.web.snippets import METHODS, write_snippets

BASE = "http://127.0.0.1:8000/v2/local"
TEXT = """it's "é" $HOME `x` \\ </script> {{ x }} {% y %}\n🦙"""
CHAT: dict[str, Any] = {
    "openai_route": "/v1/chat/completions",
    "openai_input": {
        "model": "m",
        "messages": [{"role": "user", "content": TEXT}],
        "top_k": 5,
        "stream": True,
    },
}
NATIVE = {"prompt": TEXT, "sampling_params": {"max_tokens": 5, "ignore_eos": True}}
INPUTS = {
    "chat": CHAT,
    "plain-chat": {**CHAT, "openai_input": {**CHAT["openai_input"], "stream": False}},
    "native": NATIVE,
    "native-stream": {**NATIVE, "stream": True},
    "embeddings": {"openai_route": "v1/embeddings", "openai_input": {"model": "m", "input": TEXT}},
    "other": {"openai_route": "/v1/rerank", "openai_input": {"query": "a", "documents": [TEXT]}},
}
PLACES = pytest.mark.parametrize("on_runpod", [False, True])
REQUESTS = pytest.mark.parametrize("job_input", INPUTS.values(), ids=INPUTS)


@REQUESTS
@PLACES
def test_curl_sends_the_request(job_input, on_runpod):
    text = write_snippets(job_input, BASE, on_runpod=on_runpod)["curl"]
    words = shlex.split(text.partition("\n\n#")[0])
    body = json.loads(words[words.index("-d") + 1])
    assert body == job_input.get("openai_input", {"input": job_input})
    assert ("api.runpod.ai" in text) is on_runpod
    assert ("RUNPOD_API_KEY" in text) is on_runpod


@REQUESTS
@PLACES
@pytest.mark.parametrize("client", ["openai", "runpod"])
def test_python_compiles_with_the_request_in_it(job_input, on_runpod, client):
    text = write_snippets(job_input, BASE, on_runpod=on_runpod)[client]
    if text is None:
        assert client == "openai"
        return
    tree = ast.parse(text)
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert TEXT in constants
    assert ("RUNPOD_API_KEY" in text) is on_runpod


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@PLACES
def test_javascript_parses(on_runpod, tmp_path):
    for name, job_input in INPUTS.items():
        script = tmp_path / f"{name}.mjs"
        script.write_text(write_snippets(job_input, BASE, on_runpod=on_runpod)["javascript"])
        subprocess.run(["node", "--check", script], check=True, capture_output=True)


def test_other_names_go_into_the_extra_body():
    text = write_snippets(CHAT, BASE, on_runpod=False)["openai"]
    call = next(
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and any(key.arg == "messages" for key in node.keywords)
    )
    given = {key.arg: ast.literal_eval(key.value) for key in call.keywords}
    assert given == {
        "model": "m",
        "messages": CHAT["openai_input"]["messages"],
        "stream": True,
        "extra_body": {"top_k": 5},
    }


@pytest.mark.parametrize("route", METHODS)
def test_arguments_are_those_of_the_installed_client(route):
    client = openai.OpenAI(api_key="x")
    method: Any = client
    for part in METHODS[route].name.split("."):
        method = getattr(method, part)
    assert set(inspect.signature(method).parameters) >= METHODS[route].arguments
    client.close()
