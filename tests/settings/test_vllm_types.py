"""What users write, and what becomes of it."""

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from worker.settings.registry import load_registry
from worker.settings.settings import settings_class
from worker.settings.sources import is_unset, validate_value
from worker.settings.vllm_types import check_members
from worker.validation_errors import describe


def option(name):
    return load_registry().by_variable[name]


GOOD = [
    *(("ENFORCE_EAGER", text, True) for text in ("true", "True", "1", "yes", "ON", True)),
    *(("ENFORCE_EAGER", text, False) for text in ("false", "FALSE", "0", "no", "off", False)),
    ("MAX_NUM_SEQS", " 12 ", 12),
    ("MAX_NUM_SEQS", "12.0", 12),
    ("MAX_NUM_SEQS", 12, 12),
    ("SEED", "4294967295", 4294967295),
    ("MAX_MODEL_LEN", "8k", 8000),
    ("MAX_MODEL_LEN", "8K", 8192),
    ("MAX_MODEL_LEN", "25.6k", 25600),
    ("MAX_MODEL_LEN", "-1", "auto"),
    ("MAX_MODEL_LEN", "AUTO", "auto"),
    ("KV_CACHE_MEMORY_BYTES", "2G", 2 * 1024**3),
    ("GPU_MEMORY_UTILIZATION", "0.9", 0.9),
    ("GPU_MEMORY_UTILIZATION", 1, 1.0),
    ("DTYPE", "BFloat16", "bfloat16"),
    ("MAX_LORA_RANK", "64", 64),
    ("KV_CACHE_DTYPE", "fp8-e4m3", "fp8_e4m3"),
    ("QUANTIZATION", "AWQ", "awq"),
    ("REVISION", 123, "123"),
    ("HF_OVERRIDES", '{"a": {"b": 1}}', {"a": {"b": 1}}),
    ("HF_OVERRIDES", {"a": 1}, {"a": 1}),
    ("ADDITIONAL_CONFIG", '{"bytes": 80m}', {"bytes": 80_000_000}),
    ("ADDITIONAL_CONFIG", '{"text": "80m"}', {"text": "80m"}),
    ("LIMIT_MM_PER_PROMPT", "image=1, video=0", {"image": 1, "video": 0}),
    ("LIMIT_MM_PER_PROMPT", '{"image": 1}', {"image": 1}),
    ("ALLOWED_ORIGINS", '["*"]', ["*"]),
    ("ALLOWED_ORIGINS", "*", ["*"]),
    ("ALLOWED_ORIGINS", "https://a.com, https://b.com", ["https://a.com", "https://b.com"]),
    ("IGNORE_PATTERNS", "a, b", ["a", "b"]),
    ("IGNORE_PATTERNS", '["a", "b"]', ["a", "b"]),
    ("IGNORE_PATTERNS", ["a"], ["a"]),
    ("CUDAGRAPH_CAPTURE_SIZES", "1,2", [1, 2]),
    ("COLLECT_DETAILED_TRACES", "Model", ["model"]),
    ("LORA_MODULES", "a=x", [{"name": "a", "path": "x"}]),
    ("LORA_MODULES", '["a=x", {"name": "b", "path": "y"}]', 2),
    ("COMPILATION_CONFIG", '{"mode": "VLLM_COMPILE"}', {"mode": "VLLM_COMPILE"}),
    ("SPECULATIVE_CONFIG", '{"num-speculative-tokens": 3}', {"num_speculative_tokens": 3}),
]


@pytest.mark.parametrize(("name", "raw", "value"), GOOD)
def test_validate_value_accepts(name, raw, value):
    parsed = validate_value(settings_class(), option(name), raw)

    assert (len(parsed) if name == "LORA_MODULES" and isinstance(value, int) else parsed) == value


BAD = [
    ("ENFORCE_EAGER", "maybe", "not a boolean"),
    ("ENFORCE_EAGER", "2", "not a boolean"),
    ("MAX_NUM_SEQS", "many", "not an integer"),
    ("MAX_NUM_SEQS", "1.5", "not an integer"),
    ("MAX_NUM_SEQS", "inf", "not an integer"),
    ("MAX_NUM_SEQS", "nan", "not an integer"),
    ("MAX_NUM_SEQS", True, "not an integer"),
    ("MAX_NUM_SEQS", "-1", "out of range"),
    ("MAX_MODEL_LEN", "-5", "out of range"),
    ("MAX_MODEL_LEN", "8Q", "not an integer"),
    ("MAX_MODEL_LEN", "1.5K", "a decimal before a binary suffix"),
    ("GPU_MEMORY_UTILIZATION", "1.5", "out of range"),
    ("GPU_MEMORY_UTILIZATION", "95%", "not a number"),
    ("GPU_MEMORY_UTILIZATION", "nan", "not a number"),
    ("DTYPE", "bf16", "unknown value"),
    ("MAX_LORA_RANK", "17", "unknown value"),
    ("REVISION", ["a"], "not text"),
    ("HF_OVERRIDES", "{'a': 1}", "not valid JSON"),
    ("SPECULATIVE_CONFIG", "[1]", "not a JSON object"),
    ("SPECULATIVE_CONFIG", '{"num_speculative_tokens": 0}', "out of range"),
    ("SPECULATIVE_CONFIG", '{"method": "ngramm"}', "unknown value 'ngramm' at method"),
    ("COMPILATION_CONFIG", '{"cudagraph_mod": 1}', "unknown key 'cudagraph_mod'"),
    (
        "COMPILATION_CONFIG",
        '{"cudagraph_capture_sizes": 4}',
        "not a list at cudagraph",
    ),
    ("COMPILATION_CONFIG", "3", "not a JSON object"),
    ("ALLOWED_ORIGINS", '["*"', "not valid JSON"),
    ("ALLOWED_ORIGINS", '{"a": 1}', "not a list"),
    ("LIMIT_MM_PER_PROMPT", "image", "not a limit"),
    ("IGNORE_PATTERNS", "-a", "not a usable list"),
    ("CUDAGRAPH_CAPTURE_SIZES", "1,x", "not all integers"),
    ("LORA_MODULES", '[{"name": "a"}]', "a LoRA adapter without path"),
    ("LORA_MODULES", '[{"name": "a", "path": "b", "rank": 1}]', "unknown key 'rank'"),
    ("LORA_MODULES", "org/adapter", "not a LoRA adapter"),
]


@pytest.mark.parametrize(("name", "raw", "message"), BAD)
def test_validate_value_rejects(name, raw, message):
    with pytest.raises(ValidationError) as caught:
        validate_value(settings_class(), option(name), raw)

    invalid = describe(caught.value.errors()[0])
    assert message in invalid.message
    assert invalid.expected or invalid.suggestions


@pytest.mark.parametrize(
    ("name", "raw", "from_form", "unset"),
    [
        ("QUANTIZATION", "", True, True),
        ("QUANTIZATION", "None", True, True),
        ("QUANTIZATION", " null ", True, True),
        ("QUANTIZATION", None, False, True),
        ("CONVERT", "none", True, False),
        ("MAX_MODEL_LEN", "0", True, True),
        ("MAX_NUM_SEQS", "0", True, True),
        ("MAX_NUM_SEQS", 0, False, False),
        ("GPU_MEMORY_UTILIZATION", "0.0", True, True),
        ("CPU_OFFLOAD_GB", "0", True, False),
        ("MAX_NUM_QUEUED_REQS", "0", True, False),
        ("STREAM_MAX_DELAY_MS", "0", True, False),
    ],
)
def test_is_unset_knows_empty_values_and_zeros_of_forms(name, raw, from_form, unset):
    assert is_unset(raw, option(name), from_form=from_form) is unset


INNER = {"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}}
UNION = {"anyOf": [{**INNER, "additionalProperties": False}, {"type": "string"}]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"k": {"x": 0}}, "out of range at k.x"),
        ({"k": {"y": 0}}, "unknown key 'y' at k"),
        ({"k": [1]}, "not a JSON object at k"),
    ],
)
def test_members_of_a_union_are_reported_by_their_own_path(value, message):
    schema = {"type": "object", "properties": {"k": UNION}}

    with pytest.raises(PydanticCustomError) as caught:
        check_members(schema)(value)

    assert caught.value.context["message"] == message
