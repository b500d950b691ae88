"""The warning when a configuration cannot fit the GPUs that are seen."""

import pytest

from worker.machine import GIB, MachineInfo
from worker.profile import PROFILES
from worker.profile.memory import Layout, request_bytes
from worker.settings import load_settings
from worker.sizing.requirement import check_capacity, memory_requirement

SIZES = {"L4": 23034 / 1024, "A40": 46068 / 1024, "H100": 81559 / 1024}


def warnings_of(environ, gpu, gpus=1):
    memory = None if gpu is None else int(SIZES[gpu] * GIB)
    settings = load_settings(environ, machine=MachineInfo(gpus, 64 * GIB, memory, gpu))
    return [warning for warning in check_capacity(settings) if "cannot fit" in warning.message]


@pytest.mark.parametrize(
    ("environ", "gpu", "gpus"),
    [
        ({"PROFILE": "qwen3-8b"}, "A40", 1),
        ({"PROFILE": "llama-3.1-8b"}, "L4", 1),
        ({"PROFILE": "llama-3.3-70b"}, "H100", 4),
        ({"PROFILE": "qwen3-32b"}, None, 1),
        ({"MODEL_NAME": "org/unknown"}, "L4", 1),
        ({"MODEL_NAME": "Qwen/Qwen3-32B", "CPU_OFFLOAD_GB": "60"}, "L4", 1),
        ({"MODEL_NAME": "Qwen/Qwen3-8B-AWQ"}, "L4", 1),
        ({"MODEL_NAME": "Qwen/Qwen3-8B", "QUANTIZATION": "fp8"}, "L4", 1),
        ({"MODEL_NAME": "Qwen/Qwen3-8B", "MAX_MODEL_LEN": "8192"}, "L4", 1),
        ({"MODEL_NAME": "Qwen/Qwen3-8B", "KV_CACHE_DTYPE": "fp8"}, "L4", 1),
    ],
    ids=[
        "fits",
        "context-is-automatic",
        "spread-over-gpus",
        "unknown-gpu",
        "unknown-model",
        "offloaded",
        "quantised-variant",
        "quantised-by-vllm",
        "shorter-context",
        "smaller-cache",
    ],
)
def test_requirement_that_fits_has_no_warning(environ, gpu, gpus):
    assert warnings_of(environ, gpu, gpus) == []


def test_weights_that_are_too_large():
    [warning] = warnings_of({"PROFILE": "qwen3-32b"}, "A40")

    assert warning.where == "profile qwen3-32b:model_name"
    assert warning.message == (
        "cannot fit: 61.0 GiB of weights for each GPU, of 42.7 GiB that vLLM may use; "
        "run `worker fit` for changes that make it fit"
    )


def test_context_that_is_too_long_names_the_longest():
    [warning] = warnings_of({"MODEL_NAME": "Qwen/Qwen3-8B", "MAX_MODEL_LEN": "40960"}, "L4")

    assert warning.where == "MAX_MODEL_LEN"
    assert warning.message.startswith("a request of 40960 tokens cannot fit: it takes 5.6 GiB")
    assert warning.expected.startswith("at most 2")


def test_switched_off_profile_still_knows_the_model():
    [warning] = warnings_of({"MODEL_NAME": "Qwen/Qwen3-32B", "AUTO_PROFILE": "false"}, "A40")

    assert warning.where == "MODEL_NAME"


def requirement_of(**environ):
    settings = load_settings(environ, machine=MachineInfo(1, 64 * GIB))
    return memory_requirement(settings.values, settings.profile, PROFILES)


def test_text_only_leaves_out_the_encoders():
    plain = requirement_of(PROFILE="qwen3.6-27b")
    text = requirement_of(PROFILE="qwen3.6-27b", LANGUAGE_MODEL_ONLY="true")

    assert text.left_out == 2 * 460730096
    assert text.model.weight_bytes == plain.model.weight_bytes - text.left_out


def test_speculation_counts_the_weights_and_the_cache_of_the_draft():
    plain = requirement_of(PROFILE="llama-3.1-8b")
    drafted = requirement_of(PROFILE="llama-3.1-8b", SPECULATION="on")

    draft = drafted.profile.about.speculation
    assert drafted.draft == draft
    assert drafted.model.weight_bytes == plain.model.weight_bytes + draft.weight_bytes
    assert request_bytes(drafted.model.attention, 1024, Layout()) == pytest.approx(
        request_bytes(plain.model.attention, 1024, Layout()) * 33 / 32
    )


def test_speculation_counts_a_recurrent_state_for_each_drafted_token():
    [*_, recurrent] = requirement_of(PROFILE="qwen3.6-27b").model.attention
    drafted = requirement_of(PROFILE="qwen3.6-27b", SPECULATION="on")

    assert drafted.layout.draft_tokens == 3
    assert request_bytes([recurrent], 1024, drafted.layout) == pytest.approx(
        request_bytes([recurrent], 1024, Layout()) * 5 / 2
    )


def test_profile_that_names_a_folder_is_the_profile_of_its_model(tmp_path):
    path = tmp_path / "own.yaml"
    layers = "[{layers: 2, kv_heads: 1, head_size: 64}]"
    path.write_text(
        f"about: {{facts: [{{source: counted, attention: {layers}, "
        "context: 64, weight_bytes: 9}]}"
        "\nmodel_name: /models/own\n"
    )

    assert requirement_of(PROFILE=str(path)).model.weight_bytes == 9


def test_speculation_of_ones_own_is_no_preset():
    own = '{"method": "suffix", "num_speculative_tokens": 4}'
    found = requirement_of(PROFILE="llama-3.1-8b", SPECULATIVE_CONFIG=own)

    assert (found.draft, found.layout.draft_tokens) == (None, 4)


def test_adapters_that_do_not_fit_are_named():
    environ = {"PROFILE": "qwen3-30b-a3b", "LORA_ALLOWED": "org/*", "MAX_LORAS": "8"}
    [warning] = warnings_of(environ, "H100")

    assert "56.9 GiB of weights and 25.3 GiB for LoRA adapters for each GPU" in warning.message
