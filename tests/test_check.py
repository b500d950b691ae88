"""`worker check`: what it prints, how it ends, and how little it imports."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from worker.check import run_check
from worker.errors import ExitCode

ENVIRONMENTS = yaml.safe_load((Path(__file__).parent / "settings/environments.yaml").read_text())
PRODUCTION = {**ENVIRONMENTS["production"]["env"], "CUDA_VISIBLE_DEVICES": ""}
SECRETS = ("hf_secretsecret", "rpa_verysecret", "aws_verysecret")

MISTAKES = {
    "MODEL_NAEM": "org/x",
    "MAX_MODEL_LEN": "8Q",
    "GPU_MEMORY_UTILIZATION": "95",
    "MAX_NUM_SEQS": "many",
    "MAX_NUM_BATCHED_TOKENS": "-4",
    "TENSOR_PARALLEL_SIZE": "two",
    "QUANTIZATION": "squeezellm",
    "LOAD_FORMAT": "safetensor",
    "DTYPE": "bf16",
    "KV_CACHE_DTYPE": "fp4",
    "ENFORCE_EAGER": "maybe",
    "ENABLE_AUTO_TOOL_CHOICE": "true",
    "TOOL_CALL_PARSR": "hermes",
    "REASONING_PARSER": "deepseek",
    "LORA_MODULES": '[{"name": "a"}]',
    "MAX_LORA_RANK": "17",
    "LIMIT_MM_PER_PROMPT": "image",
    "SPECULATIVE_CONFIG": "{'method': 'ngram'}",
    "COMPILATION_CONFIG": '{"cudagraph_mod": "FULL"}',
    "MAX_CONCURRENCY": "0.5",
    "DEFAULT_BATCH_SIZE_GROWTH_FACTOR": "0.5",
    "REQUEST_TIMEOUT_S": "soon",
    "WORKER_LOG_LEVEL": "loud",
    "WORKER_CONFIG": "/nowhere.yaml",
    "PROFILE": "llama",
}


def check(environ, **options):
    out = io.StringIO()
    console = Console(file=out, width=160, highlight=False, color_system=None)
    return run_check(environ, console=console, **options), out.getvalue()


def test_check_shows_values_sources_and_arguments():
    code, text = check({"MODEL_NAME": "Qwen/Qwen3-8B", "CUDA_VISIBLE_DEVICES": ""})

    assert code == ExitCode.OK
    assert "--model Qwen/Qwen3-8B --served-model-name Qwen/Qwen3-8B" in text
    line = next(line for line in text.splitlines() if line.startswith("MODEL_NAME"))
    assert line.split() == ["MODEL_NAME", "Qwen/Qwen3-8B", "environment", "--model"]


def test_check_shows_what_differs_and_counts_the_rest():
    environ = {"MODEL_NAME": "org/x", "MAX_NUM_SEQS": "8", "CUDA_VISIBLE_DEVICES": ""}
    code, text = check(environ)
    names = [line.split()[0] for line in text.splitlines() if line[:1].isupper()]
    assert code == ExitCode.OK
    assert {"MODEL_NAME", "MAX_NUM_SEQS", "ENFORCE_EAGER"} <= set(names)
    assert "MAX_CONCURRENCY" not in names

    _, complete = check(environ, show_all=True)
    rows = [line for line in complete.splitlines() if " default " in line + " "]
    kept = [row.split()[0] for row in rows if "default (" not in row]
    assert "MAX_CONCURRENCY" in kept
    assert f"{len(kept)} more settings keep their defaults" in text
    assert complete.index("MAX_NUM_SEQS") < complete.index("MAX_CONCURRENCY")


def test_check_reports_all_mistakes_at_once(snapshot):
    code, text = check(MISTAKES)

    assert len(MISTAKES) == 25
    assert code == ExitCode.CONFIGURATION
    assert text == snapshot


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_check_hides_secrets(as_json):
    environ = {**PRODUCTION, "OTLP_TRACES_ENDPOINT": "http://user:aws_verysecret@collector"}
    code, text = check(environ, as_json=as_json)

    assert code == ExitCode.OK
    assert not [secret for secret in SECRETS if secret in text]


def test_check_hides_a_rejected_secret():
    code, text = check({"MAX_NUM_SEQS": "hf_secretsecret", "HF_TOKEN": "hf_secretsecret"})

    assert code == ExitCode.CONFIGURATION
    assert "hf_secretsecret" not in text


@pytest.mark.parametrize("secret", ['": "name", "', "settings", "MODEL_NAME"])
def test_check_as_json_keeps_its_shape_whatever_the_secret_is(secret):
    code, text = check({**PRODUCTION, "WORKER_API_KEY": secret}, as_json=True)

    assert code == ExitCode.OK
    assert {"name", "value", "source"} <= set(json.loads(text)["settings"][0])


def test_check_as_json_is_json():
    code, text = check(PRODUCTION, as_json=True)
    data = json.loads(text)

    values = {item["name"]: item for item in data["settings"]}
    assert code == ExitCode.OK
    assert values["MAX_MODEL_LEN"]["value"] == 32768
    assert values["MAX_MODEL_LEN"]["source"] == "environment"
    assert values["MAX_MODEL_LEN"]["engine_option"] == "--max-model-len"
    assert data["engine_arguments"][:2] == ["--model", "meta-llama/Llama-3.3-70B-Instruct"]


def test_check_as_json_keeps_an_integer_of_more_than_64_bits():
    code, text = check({**PRODUCTION, "PIPELINE_PARALLEL_SIZE": str(2**64)}, as_json=True)

    shown = {item["name"]: item["value"] for item in json.loads(text)["settings"]}
    assert code == ExitCode.OK
    assert shown["PIPELINE_PARALLEL_SIZE"] == 2**64


def test_check_as_json_reports_problems_as_data():
    code, text = check(MISTAKES, as_json=True)
    data = json.loads(text)

    assert code == ExitCode.CONFIGURATION
    assert {problem["where"] for problem in data["problems"]} == set(MISTAKES)


def test_check_warns_of_removed_variables():
    code, text = check({"SWAP_SPACE": "8", "CUDA_VISIBLE_DEVICES": ""})

    assert code == ExitCode.OK
    assert "SWAP_SPACE: has no effect since" in text


def test_check_imports_neither_vllm_nor_torch_nor_the_sdk():
    program = (
        "import os, sys\n"
        "from worker.check import run_check\n"
        "code = run_check(os.environ)\n"
        "heavy = {'vllm', 'torch', 'runpod', 'transformers', 'jinja2', 'jsonschema'}\n"
        "print(sorted(heavy & set(sys.modules)), code)\n"
    )
    environ = {"PATH": os.environ["PATH"], "MODEL_NAME": "org/x"}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )

    assert result.stdout.splitlines()[-1] == "[] 0"
