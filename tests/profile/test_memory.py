"""The memory computation: against published figures of vLLM, and by its own rules."""

import math
from pathlib import Path

import pytest
import yaml

from worker.profile import builtin_folder, load_profile
from worker.profile.attention import (
    CrossAttention,
    FullAttention,
    LatentAttention,
    LinearAttention,
    SlidingWindowAttention,
)
from worker.profile.memory import (
    BLOCK,
    GIB,
    PARAMETER_BYTES,
    Layout,
    Model,
    compute_fit,
    estimate_weights,
    kv_element_bytes,
    longest_context,
    request_bytes,
    token_bytes,
)

PUBLISHED = yaml.safe_load(Path(__file__).with_name("published.yaml").read_text())
LLAMA_8B = (FullAttention(layers=32, kv_heads=8, head_size=128),)
PLAIN = Layout()


def computed(case):
    """Return our figures for a published case, by the names that the cases use."""
    about = load_profile(builtin_folder() / f"{case['profile']}.yaml", builtin_folder()).about
    attention, most = about.fact("attention").value, about.fact("context").value
    layout = Layout(
        tensor_parallel=case.get("tensor_parallel", 1),
        kv_bytes=kv_element_bytes(case.get("kv_cache_dtype")),
    )
    context = case.get("context", most)
    request = request_bytes(attention, context, layout)
    cache = case.get("cache_gib", 0) * GIB
    return {
        "weights_gib": about.fact("weight_bytes").value / GIB,
        "request_gib": request / GIB,
        "requests": cache / request,
        "tokens": cache / request * context,
        "token_kib": token_bytes(attention, layout) / 1024,
        "longest": longest_context(attention, cache, most, layout),
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_memory_is_what_was_published(name):
    case = PUBLISHED[name]
    figures = computed(case)
    expected = {key: value for key, value in case.items() if key in figures}

    assert expected
    assert {key: figures[key] for key in expected} == pytest.approx(expected, rel=case["within"])


def test_published_figures_are_of_at_least_five_models():
    published = [case for case in PUBLISHED.values() if case["source"].startswith("https://")]

    assert len({case["profile"] for case in published}) >= 5


@pytest.mark.parametrize(
    ("part", "layout", "expected"),
    [
        (FullAttention(layers=1, kv_heads=8, head_size=64), Layout(), 1024 * 8 * 64 * 2 * 2),
        (FullAttention(layers=1, kv_heads=8, head_size=64), Layout(2), 1024 * 4 * 64 * 2 * 2),
        (FullAttention(layers=1, kv_heads=2, head_size=64), Layout(8), 1024 * 1 * 64 * 2 * 2),
        (FullAttention(layers=5, kv_heads=1, head_size=64), Layout(1, 2), 3 * 1024 * 64 * 2 * 2),
        (FullAttention(layers=1, kv_heads=1, head_size=64), Layout(kv_bytes=1), 1024 * 64 * 2),
        (LatentAttention(kind="latent", layers=1, width=576), Layout(8), 1024 * 576 * 2),
        (
            LinearAttention(kind="recurrent", layers=1, state_bytes=1000),
            Layout(4),
            2 * 1000 / 4,
        ),
        (
            CrossAttention(kind="cross", layers=1, kv_heads=1, head_size=64, tokens=1500),
            Layout(),
            1504 * 64 * 2 * 2,
        ),
        (
            SlidingWindowAttention(kind="sliding", layers=1, kv_heads=1, head_size=64, window=128),
            Layout(batched_tokens=256),
            (383 + 1 + BLOCK) * 64 * 2 * 2,
        ),
        (
            SlidingWindowAttention(kind="sliding", layers=1, kv_heads=1, head_size=64, window=4096),
            Layout(),
            1024 * 64 * 2 * 2,
        ),
    ],
    ids=[
        "full",
        "tensor-parallel",
        "heads-replicated",
        "pipeline-parallel",
        "one-byte",
        "latent-is-not-shared",
        "recurrent",
        "cross-needs-the-encoder",
        "window-and-one-step",
        "window-above-context",
    ],
)
def test_request_bytes_of_one_layer(part, layout, expected):
    assert request_bytes([part], 1024, layout) == expected


def test_request_bytes_of_a_model_that_keeps_nothing():
    fit = compute_fit(Model(GIB, (), 512), 16 * GIB, 0.9, None, PLAIN)

    assert fit.fits
    assert math.isinf(fit.requests)
    assert fit.longest == fit.context == 512


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (None, 2),
        ("auto", 2),
        ("bfloat16", 2),
        ("fp8", 1),
        ("fp8_e5m2", 1),
        ("int8_per_token_head", 1),
        ("nvfp4", 0.5625),
    ],
)
def test_kv_element_bytes_follows_the_type_of_the_cache(kind, expected):
    assert kv_element_bytes(kind) == expected


def test_longest_context_is_rounded_down_and_bounded():
    one = request_bytes(LLAMA_8B, 1000, PLAIN)

    assert longest_context(LLAMA_8B, one, 100_000, PLAIN) == 896
    assert longest_context(LLAMA_8B, 100 * one, 1000, PLAIN) == 1000
    assert longest_context(LLAMA_8B, 0, 1000, PLAIN) == 0


def test_fit_of_weights_that_are_too_large():
    fit = compute_fit(Model(30 * GIB, LLAMA_8B, 8192), 24 * GIB, 0.9, 8192, PLAIN)

    assert not fit.fits
    assert (fit.requests, fit.longest) == (0, 0)


def test_fit_takes_the_longest_context_when_none_is_asked():
    fit = compute_fit(Model(15 * GIB, LLAMA_8B, 131072), 24 * GIB, 0.9, None, PLAIN)

    assert fit.fits
    assert fit.context == fit.longest < 131072


def test_fit_spreads_weights_over_all_gpus():
    model = Model(60 * GIB, LLAMA_8B, 8192)

    assert not compute_fit(model, 48 * GIB, 0.9, 8192, PLAIN).fits
    assert compute_fit(model, 48 * GIB, 0.9, 8192, Layout(2)).fits
    assert compute_fit(model, 48 * GIB, 0.9, 8192, Layout(1, 2)).fits


@pytest.mark.parametrize("precision", PARAMETER_BYTES)
def test_estimate_weights_knows_every_precision(precision):
    assert 0.5 <= estimate_weights(10, precision) / 10 <= 4


# What is known exactly of quantised models, to keep the estimates honest.
@pytest.mark.parametrize(
    "name",
    ["qwen3-32b-awq", "qwen3.6-27b-fp8", "gpt-oss-120b", "minimax-m2.5", "llama-3.3-70b-fp8"],
)
def test_estimate_weights_is_near_what_was_counted(name):
    about = load_profile(builtin_folder() / f"{name}.yaml", builtin_folder()).about
    counted = about.fact("weight_bytes").value

    estimated = estimate_weights(about.fact("parameters").value, about.precision)
    assert estimated == pytest.approx(counted, rel=0.1)
