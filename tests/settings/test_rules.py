"""Settings that are right alone and wrong together."""

import pytest

from worker.errors import ConfigurationError
from worker.machine import GIB, MachineInfo
from worker.settings import load_settings

SPECULATION = '{"method": "ngram", "num_speculative_tokens": 3}'

WRONG = {
    "tools-without-parser": ({"ENABLE_AUTO_TOOL_CHOICE": "1"}, "without TOOL_CALL_PARSER"),
    "log-outputs": ({"ENABLE_LOG_OUTPUTS": "1"}, "without ENABLE_LOG_REQUESTS"),
    "lora-rank": ({"MAX_LORA_RANK": "64"}, "has no effect without ENABLE_LORA"),
    "lora-modules": ({"LORA_MODULES": "a=b"}, "cannot be loaded without ENABLE_LORA"),
    "lora-by-name-off": (
        {"LORA_ALLOWED": "org/*", "ENABLE_LORA": "0"},
        "cannot be loaded without ENABLE_LORA",
    ),
    "lora-pattern": ({"LORA_ALLOWED": "org/*,adapter"}, "'adapter' is neither a repository nor"),
    "lora-by-name-cache": (
        {"LORA_ALLOWED": "org/*", "MAX_CPU_LORAS": "2"},
        "fewer adapters cached than active",
    ),
    "lora-cache": (
        {"ENABLE_LORA": "1", "MAX_LORAS": "4", "MAX_CPU_LORAS": "2"},
        "fewer adapters cached than active",
    ),
    "tool-parser": (
        {"ENABLE_AUTO_TOOL_CHOICE": "1", "TOOL_CALL_PARSER": "hermess"},
        "Did you mean hermes",
    ),
    "quantization": ({"QUANTIZATION": "awk"}, "Did you mean awq"),
    "retired-quantization": ({"QUANTIZATION": "squeezellm"}, "no longer exists in vLLM"),
    "load-format": ({"LOAD_FORMAT": "safetensor"}, "Did you mean safetensors"),
    "tokenizer-mode": ({"TOKENIZER_MODE": "slow"}, "no longer exists in vLLM"),
    "executor": ({"DISTRIBUTED_EXECUTOR_BACKEND": "rya"}, "Did you mean ray"),
    "batch": ({"MAX_NUM_BATCHED_TOKENS": "64", "MAX_NUM_SEQS": "128"}, "fewer tokens"),
    "no-chunks": (
        {
            "ENABLE_CHUNKED_PREFILL": "0",
            "MAX_MODEL_LEN": "8k",
            "MAX_NUM_BATCHED_TOKENS": "4k",
        },
        "too few tokens without chunked prefill",
    ),
    "active-sequences": ({"MAX_NUM_ACTIVE_SEQS": "300"}, "more than the maximum that can run"),
    "gpus": ({"TENSOR_PARALLEL_SIZE": "4"}, "need 4 GPUs together"),
    "gpus-pipelined": ({"PIPELINE_PARALLEL_SIZE": "3"}, "need 3 GPUs together"),
    "speculation-nothing": ({"SPECULATIVE_CONFIG": "{}"}, "neither method nor model"),
    "speculation-tokens": (
        {"SPECULATIVE_CONFIG": '{"method": "ngram"}'},
        "without num_speculative_tokens",
    ),
    "speculation-twice": (
        {"SPECULATIVE_CONFIG": SPECULATION, "SPEC_METHOD": "suffix"},
        "and so does SPEC_METHOD",
    ),
    "metrics": (
        {"ENABLE_PER_REQUEST_METRICS": "1", "DISABLE_LOG_STATS": "1"},
        "needs engine statistics",
    ),
    "origin": ({"ALLOWED_ORIGINS": "https://a.com,b.com"}, "'b.com' is not an origin"),
    "origin-path": ({"ALLOWED_ORIGINS": "https://a.com/chat"}, "is not an origin"),
    "template": ({"CHAT_TEMPLATE": "/nowhere/chat.jinja"}, "no such file"),
}

RIGHT = {
    "origins": {"ALLOWED_ORIGINS": "https://a.com,http://localhost:3000,http://[::1]:80"},
    "origins-all": {"ALLOWED_ORIGINS": "*"},
    "tools": {"ENABLE_AUTO_TOOL_CHOICE": "1", "TOOL_CALL_PARSER": "hermes"},
    "plugin": {
        "ENABLE_AUTO_TOOL_CHOICE": "1",
        "TOOL_CALL_PARSER": "mine",
        "TOOL_PARSER_PLUGIN": "/p.py",
    },
    "engine-plugins": {"QUANTIZATION": "mine", "VLLM_PLUGINS": "mine"},
    "executor-class": {"DISTRIBUTED_EXECUTOR_BACKEND": "pkg.Executor"},
    "lora-by-name": {"LORA_ALLOWED": "org/*, /volume/adapters", "MAX_LORAS": "40"},
    "lora-defaults": {"MAX_LORAS": "1", "MAX_LORA_RANK": "16", "LORA_DTYPE": "auto"},
    "tools-off": {"ENABLE_AUTO_TOOL_CHOICE": "0"},
    "ray-spans-machines": {
        "TENSOR_PARALLEL_SIZE": "8",
        "DISTRIBUTED_EXECUTOR_BACKEND": "ray",
    },
    "speculation": {"SPECULATIVE_CONFIG": SPECULATION},
    "template": {"CHAT_TEMPLATE": "{{ messages }}"},
    "built-in-template": {"CHAT_TEMPLATE": "template_basic.jinja"},
}


@pytest.mark.parametrize(("environ", "fragment"), WRONG.values(), ids=WRONG)
def test_apply_rules_finds_the_contradiction(environ, fragment):
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ, machine=MachineInfo(2, 24 * GIB))

    assert len(caught.value.problems) == 1
    assert fragment in str(caught.value)


@pytest.mark.parametrize("environ", RIGHT.values(), ids=RIGHT)
def test_apply_rules_accepts(environ):
    assert load_settings(environ, machine=MachineInfo(2, 24 * GIB)).warnings == ()


def test_parallel_sizes_are_not_checked_where_no_gpu_is():
    settings = load_settings({"TENSOR_PARALLEL_SIZE": "8"}, machine=MachineInfo(0, 24 * GIB))

    assert "8" in settings.engine_arguments()


def test_first_batch_above_the_largest_is_a_warning():
    settings = load_settings({"DEFAULT_MIN_BATCH_SIZE": "60"}, machine=MachineInfo(1, GIB))

    assert [warning.where for warning in settings.warnings] == ["DEFAULT_MIN_BATCH_SIZE"]
