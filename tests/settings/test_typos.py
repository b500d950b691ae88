"""Misspelt variables are found, and only those."""

from pathlib import Path

import pytest
import yaml

from worker.machine import GIB, MachineInfo
from worker.settings import load_settings
from worker.settings.registry import load_registry
from worker.settings.typos import find_unknown


def find_typos(environ, allowed=None):
    unknown = find_unknown(environ, load_registry(), allowed)
    return [problem for problem in unknown if problem.suggestions]


INNOCENT = yaml.safe_load((Path(__file__).parent / "innocent.yaml").read_text())

TYPOS = {
    "MAX_MODLE_LEN": "MAX_MODEL_LEN",
    "MAX_MODEL_LENGTH": "MAX_MODEL_LEN",
    "MODEL_NAEM": "MODEL_NAME",
    "MODELNAME": "MODEL_NAME",
    "GPU_MEMORY_UTILISATION": "GPU_MEMORY_UTILIZATION",
    "GPU_MEM_UTILIZATION": "GPU_MEMORY_UTILIZATION",
    "TENSOR_PARALLEL": "TENSOR_PARALLEL_SIZE",
    "TENSOR_PARALELL_SIZE": "TENSOR_PARALLEL_SIZE",
    "MAX_CONCURENCY": "MAX_CONCURRENCY",
    "QUANTISATION": "QUANTIZATION",
    "ENABLE_AUTO_TOOLCHOICE": "ENABLE_AUTO_TOOL_CHOICE",
    "TOOL_PARSER": "TOOL_CALL_PARSER",
    "TOOLCALL_PARSER": "TOOL_CALL_PARSER",
    "REASONNG_PARSER": "REASONING_PARSER",
    "ENFORCE_EAGAR": "ENFORCE_EAGER",
    "TRUST_REMOTECODE": "TRUST_REMOTE_CODE",
    "SERVED_MODELNAME": "SERVED_MODEL_NAME",
    "DEFAULT_BATCHSIZE": "DEFAULT_BATCH_SIZE",
    "LORA_MODULE": "LORA_MODULES",
    "KV_CACHE_TYPE": "KV_CACHE_DTYPE",
    "SPECULATIVE_CONFG": "SPECULATIVE_CONFIG",
    "max_model_len": "MAX_MODEL_LEN",
    "VLLM_MAX_MODEL_LEN": "MAX_MODEL_LEN",
    "WORKER_MAX_CONCURRENCY": "MAX_CONCURRENCY",
}


@pytest.mark.parametrize(("typo", "meant"), TYPOS.items())
def test_find_unknown_names_what_was_meant(typo, meant):
    problems = find_typos({typo: "x"})

    assert [problem.where for problem in problems] == [typo]
    assert meant in problems[0].suggestions


@pytest.mark.parametrize("kind", INNOCENT)
def test_find_unknown_leaves_innocent_environments_alone(kind):
    environ = {str(name): "x" for name in INNOCENT[kind]}

    assert find_typos(environ) == []


def test_find_unknown_knows_every_setting_and_every_variable_of_vllm():
    registry = load_registry()
    environ = dict.fromkeys((*registry.by_variable, *registry.engine_variables), "x")

    assert find_typos(environ) == []


@pytest.mark.parametrize("allowed", ["MODEL_NAMES", "TEAM,MODEL_*"])
def test_find_unknown_obeys_the_allowed_variables(allowed):
    assert find_typos({"MODEL_NAMES": "x"}, allowed) == []


@pytest.mark.parametrize(
    ("name", "warned"),
    [
        ("PORT", False),
        ("HOST", False),
        ("API_KEY", False),
        ("SSL_KEYFILE", True),
        ("HF_TOKEN", False),
    ],
)
def test_option_that_the_worker_keeps_to_itself_is_no_problem(name, warned):
    settings = load_settings({name: "80"}, machine=MachineInfo(1, GIB))

    assert [warning.where for warning in settings.warnings] == ([name] if warned else [])
