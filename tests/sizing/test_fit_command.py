"""`worker fit`: what it prints and how it ends."""

import io

import pytest
from rich.console import Console

from worker.errors import ExitCode
from worker.sizing.fit_command import run_fit
from worker.sizing.placement import counts
from worker.sizing.target import load_target

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


def fit(name=None, gpus=(), count=None, environ=None):
    out = io.StringIO()
    console = Console(file=out, width=160, highlight=False, color_system=None)
    code = run_fit({**NO_GPU, **(environ or {})}, name, gpus, count, console)
    return code, out.getvalue()


@pytest.mark.parametrize(
    ("name", "gpus"),
    [
        ("qwen3-8b", []),
        ("llama-3.3-70b", []),
        ("gpt-oss-120b", ["H100"]),
        ("qwen3-32b", ["A40"]),
        ("gemma-4-31b", ["4090"]),
        ("bge-m3", ["AMPERE_16"]),
    ],
    ids=["all-pools", "needs-several", "fits-one", "advice", "too-large", "keeps-nothing"],
)
def test_fit_table_matches_the_snapshot(name, gpus, snapshot):
    code, text = fit(name, gpus)

    assert code == (ExitCode.FAILURE if "To make it fit" in text else ExitCode.OK)
    assert text == snapshot


def test_fit_of_a_model_that_has_a_profile():
    code, text = fit("Qwen/Qwen3-8B-AWQ", ["L4"])

    assert code == ExitCode.OK
    assert "Qwen/Qwen3-8B-AWQ (profile qwen3-8b)" in text
    assert "int4, estimated" in text


def test_fit_of_the_environment():
    environ = {"MODEL_NAME": "Qwen/Qwen3-8B", "MAX_MODEL_LEN": "8192", "KV_CACHE_DTYPE": "fp8"}
    code, text = fit(environ=environ, gpus=["L4"])

    assert code == ExitCode.OK
    assert "8,192 tokens; the model has 40,960" in text
    assert "72.0 KiB for a further token" in text


def test_fit_marks_facts_without_a_source(tmp_path):
    path = tmp_path / "own.yaml"
    layers = "[{layers: 2, kv_heads: 1, head_size: 64}]"
    path.write_text(
        "about: {facts: ["
        f"{{source: unconfirmed, attention: {layers}, context: 4096}},"
        "{source: the card, weight_bytes: 1000000}]}\nmodel_name: org/own\n"
    )
    _code, text = fit(environ={"PROFILE": str(path)}, gpus=["L4"])

    assert "unconfirmed context, attention: no public source was found" in text
    assert "unconfirmed" not in fit("qwen3-8b", ["L4"])[1]


def test_fit_names_the_draft_and_counts_it():
    _code, plain = fit(environ={"PROFILE": "llama-3.1-8b"}, gpus=["L4"])
    _code, text = fit(environ={"PROFILE": "llama-3.1-8b", "SPECULATION": "on"}, gpus=["L4"])

    draft = "RedHatAI/Llama-3.1-8B-Instruct-speculator.eagle3, 3 tokens per step"
    assert f"draft     0.8 GiB of the weights: {draft}" in text
    assert "weights   15.7 GiB" in text
    assert "weights   15.0 GiB" in plain


def test_fit_obeys_the_number_of_gpus():
    code, text = fit("llama-3.3-70b", ["A100"], 1)
    assert code == ExitCode.FAILURE
    assert "2 GPUs of this kind in one worker" in text

    assert fit("llama-3.3-70b", ["A100"], 2)[0] == ExitCode.OK


def test_fit_obeys_a_chosen_tensor_parallel_size():
    _, text = fit(environ={"PROFILE": "llama-3.1-8b", "TENSOR_PARALLEL_SIZE": "2"})

    rows = [line for line in text.splitlines() if line.startswith(("AMPERE", "ADA"))]
    assert {line.split(")")[1].split()[0] for line in rows} == {"2"}


def test_fit_of_fp8_on_an_older_gpu_says_so():
    _, text = fit("qwen3.6-27b-fp8", ["A40"])

    assert "AMPERE_48: has GPUs older than FP8" in text


@pytest.mark.parametrize(
    ("name", "gpus", "code", "message"),
    [
        ("org/unknown", [], ExitCode.FAILURE, "No profile has facts about org/unknown"),
        ("qwen3-8", [], ExitCode.CONFIGURATION, "no such profile"),
        ("qwen3-8b", ["H1000"], ExitCode.CONFIGURATION, "Did you mean H100"),
    ],
    ids=["unknown-model", "unknown-profile", "unknown-gpu"],
)
def test_fit_of_an_unknown_model_or_gpu_is_an_error(name, gpus, code, message):
    ended, text = fit(name, gpus)

    assert ended == code
    assert message in text


def test_fit_looks_at_the_gpu_of_this_machine(monkeypatch):
    from worker.machine import GIB, MachineInfo

    machine = MachineInfo(1, GIB, 24 * GIB, "NVIDIA L4")
    monkeypatch.setattr("worker.sizing.fit_command.detect_machine", lambda _environ: machine)

    _, text = fit("qwen3-8b")

    assert "NVIDIA L4" in text
    assert "MAX_MODEL_LEN=" in text


@pytest.mark.parametrize(
    ("profile", "gpus"),
    [
        pytest.param("phi-4", [1, 2], id="ten-heads"),
        pytest.param("smollm2-135m", [1], id="three-heads"),
        pytest.param("llama-3.1-8b", [1, 2, 4, 8], id="eight-heads"),
    ],
)
def test_counts_are_those_that_get_whole_heads(profile, gpus):
    assert list(counts(load_target({}, profile))) == gpus


def test_fit_counts_the_room_for_adapters():
    _code, plain = fit("qwen3-30b-a3b", ["H100"])
    code, text = fit("qwen3-30b-a3b", ["H100"], environ={"LORA_ALLOWED": "org/*"})

    assert code == ExitCode.OK
    assert "adapters" not in plain
    assert "adapters  12.6 GiB on one GPU for 4 adapters of rank 32 in a batch\n" in text
    assert "14.9 GiB" in plain, "the cache without adapters"
    assert "2.3 GiB" in text, "the cache with adapters"


def test_fit_counts_adapters_with_vllm_s_defaults():
    _code, text = fit("qwen3-8b", ["L4"], environ={"ENABLE_LORA": "true"})

    assert "for 1 adapter of rank 16 in a batch\n" in text


def test_fit_says_that_the_room_for_adapters_is_an_estimate():
    environ = {"ENABLE_LORA": "true", "MAX_LORAS": "2", "MAX_LORA_RANK": "64"}
    _code, text = fit("phi-4", ["A40"], environ=environ)

    assert "for 2 adapters of rank 64 in a batch, estimated" in text


def test_fit_says_that_adapters_are_not_counted():
    _code, text = fit("granite-4.0-h-small", ["H100"], environ={"ENABLE_LORA": "true"})

    assert "adapters  not counted" in text


def test_fit_suggests_fewer_adapters():
    environ = {"LORA_ALLOWED": "org/*", "MAX_LORAS": "8", "MAX_MODEL_LEN": "8192"}
    code, text = fit("qwen3-30b-a3b", ["H100"], 1, environ=environ)

    assert code == ExitCode.FAILURE
    assert "MAX_LORAS=4: requests for other adapters wait" in text


def test_fit_suggests_no_second_slice_of_a_gpu():
    code, text = fit("qwen3-8b", ["PRO_6000_MIG_24GB"])

    assert code == ExitCode.FAILURE
    assert "To make it fit" in text
    assert "GPUs of this kind" not in text
