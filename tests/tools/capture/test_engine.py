"""The committed capture is what the installed vLLM has, and vLLM reads what is built from it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from worker.machine import GIB, MachineInfo
from worker.settings import load_settings
from worker.settings.arguments import format_option
from worker.settings.registry import load_registry
from worker.settings.settings import settings_class
from worker.settings.sources import validate_value
from worker.vllm_options.schema import SCHEMA_PATH
from worker_tools.capture.command import capture_text, difference

FOLDER = Path(__file__).parent
ENVIRONMENTS = yaml.safe_load((FOLDER.parents[1] / "settings" / "environments.yaml").read_text())

EXAMPLES = {
    "hf_overrides": '{"a": 1}',
    "model_loader_extra_config": '{"concurrency": 4}',
    "additional_config": '{"a": 1.5}',
    "pt_load_map_location": "cuda:0",
    "limit_mm_per_prompt": "image=2,video=0",
    "speculative_config": '{"method": "ngram", "num_speculative_tokens": 5}',
    "compilation_config": '{"mode": 3, "cudagraph_capture_sizes": [1, 2]}',
    "lora_modules": "sql=org/sql",
    "max_model_len": "25.6k",
    "numa_bind_cpus": "0-3,4-7",
    "show_hidden_metrics_for_version": "0.30",
    "watermark_config": '{"key": 1}',
    "kv_transfer_config": '{"kv_connector": "X", "kv_role": "kv_both"}',
    "kv_events_config": '{"enable_kv_cache_events": true}',
    "ec_transfer_config": '{"ec_connector": "X", "ec_role": "ec_both"}',
    "chat_template": "--{{ messages }}\n{% raw %}{'a': \"b\"}{% endraw %}",
    "served_model_name": "one, two",
    "default_mm_loras": '{"image": "org/x"}',
    "custom_histogram_buckets": '{"ttft": [0.1, 1]}',
    "quantization_config": "{}",
}
BY_KIND = {
    "switch": "true",
    "flag": "true",
    "string": "a value",
    "integer": "3",
    "human-integer": "2k",
    "number": "0.5",
    "object": "{}",
    "json": "{}",
    "list": "a,b",
    "integer-list": "1,2",
    "comma-list": "0,1",
    "repeated": "a.b,c.d",
}


def example(option):
    """Return some value that the option takes, as a user would write it."""
    if option.vllm_name in EXAMPLES:
        return EXAMPLES[option.vllm_name]
    if "enum" in option.schema:
        return str(option.schema["enum"][-1])
    if option.known_values:
        return option.known_values[0]
    if option.schema.get("type") == "array" and option.kind == "json":
        return '["a"]'
    choices = option.schema.get("items", {}).get("enum")
    return ",".join(choices[:2]) if choices else BY_KIND[option.kind]


@pytest.fixture(scope="module")
def read_by_vllm(tmp_path_factory):
    """Parse every realistic environment and one example of every option, in one process."""
    cases, expected = {}, {}
    for name, case in ENVIRONMENTS.items():
        settings = load_settings(case["env"], machine=MachineInfo(case.get("gpus", 1), 24 * GIB))
        cases[f"environment {name}"] = settings.engine_arguments()
    for option in load_registry().settable():
        if option.vllm_name is None or option.field is not None:
            continue
        value = validate_value(settings_class(), option, example(option))
        cases[option.vllm_name] = format_option(option, value)
        expected[option.vllm_name] = value
    target = tmp_path_factory.mktemp("parsed") / "results.json"
    program = [sys.executable, str(FOLDER / "parse_arguments.py"), str(target)]
    subprocess.run(program, input=json.dumps(cases), text=True, capture_output=True, check=True)
    return json.loads(target.read_text()), expected


@pytest.mark.contract
@pytest.mark.timeout(300)
def test_capture_is_that_of_the_installed_vllm():
    changes = difference(SCHEMA_PATH.read_text(), capture_text())

    assert not changes, f"vLLM's options differ; run: worker capture\n{changes[:4000]}"


@pytest.mark.contract
@pytest.mark.timeout(300)
def test_vllm_reads_the_arguments_of_every_environment(read_by_vllm):
    results, _ = read_by_vllm

    refused = [n for n in results if n.startswith("environment ") and "error" in results[n]]
    assert refused == []


@pytest.mark.contract
@pytest.mark.timeout(300)
def test_every_option_reaches_vllm_with_the_value_that_was_meant(read_by_vllm):
    results, expected = read_by_vllm

    wrong = {}
    for key, value in expected.items():
        got = results[key].get("values", {}).get(key, "refused")
        same = str(got) == str(value) or (value == "auto" and got == -1)
        if isinstance(got, list) and isinstance(value, list):
            same = [str(item) for item in got] == [str(item) for item in value]
        if isinstance(got, str) and got.endswith(("Config", "Args")) and isinstance(value, dict):
            same = True  # vLLM made its configuration object of the JSON
        if not same:
            wrong[key] = (value, got)
    assert wrong == {}
