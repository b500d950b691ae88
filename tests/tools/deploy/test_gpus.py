"""Which GPUs are asked for: what holds the model, and what it costs."""

import pytest

from worker.profile import builtin_folder, names
from worker.profile.pools import find_pool
from worker.sizing import load_target
from worker_tools.deploy.gpus import choose_gpus
from worker_tools.deploy.options import DeployOptions


def choose(environ, **options):
    problems = []
    return choose_gpus(load_target(environ), DeployOptions(**options), problems), problems


@pytest.mark.parametrize(
    ("environ", "options", "pools", "count"),
    [
        ({"PROFILE": "qwen3-8b"}, {}, ["AMPERE_48", "ADA_48_PRO", "AMPERE_80"], 1),
        (
            {"PROFILE": "qwen3-8b", "MAX_MODEL_LEN": "8192"},
            {},
            ["AMPERE_24", "ADA_24", "AMPERE_48"],
            1,
        ),
        ({"PROFILE": "qwen3-8b"}, {"gpus": 2}, ["AMPERE_16", "AMPERE_24", "ADA_24"], 2),
        ({"PROFILE": "qwen3-8b"}, {"gpu": ["L4"]}, ["AMPERE_24"], 2),
        ({"PROFILE": "qwen3-8b"}, {"gpu": ["H100", "A40"]}, ["ADA_80_PRO", "AMPERE_48"], 1),
        ({"PROFILE": "qwen3-8b"}, {"gpu": ["A40", "A6000"]}, ["AMPERE_48"], 1),
        (
            {"PROFILE": "llama-3.3-70b", "TENSOR_PARALLEL_SIZE": "2"},
            {},
            ["AMPERE_80", "BLACKWELL_96", "ADA_80_PRO"],
            2,
        ),
        (
            {"PROFILE": "qwen3.6-27b-fp8", "MAX_MODEL_LEN": "32768"},
            {},
            ["ADA_48_PRO", "BLACKWELL_96", "ADA_80_PRO"],
            1,
        ),
    ],
    ids=[
        "as-the-profile-says",
        "shorter-context-needs-less",
        "number-of-gpus",
        "as-few-as-the-named-one-needs",
        "order-of-the-user",
        "two-names-of-one-pool",
        "chosen-parallelism",
        "no-older-generation-than-the-profiles",
    ],
)
def test_choose_gpus_takes_the_named_pools_or_those_that_fit(environ, options, pools, count):
    gpus, problems = choose(environ, **options)

    assert problems == []
    assert ([pool.name for pool in gpus.pools], gpus.count) == (pools, count)


@pytest.mark.parametrize("profile", names(builtin_folder()))
def test_gpus_of_a_profile_hold_it_and_are_ordered_by_price(profile):
    gpus, _ = choose({"PROFILE": profile})
    prices = [item.usd_per_hour for item in gpus.placements]

    assert all(item.fit.fits for item in gpus.placements)
    assert prices == sorted(prices)


def test_pool_without_a_published_price_is_not_preferred():
    """ADA_32_PRO would hold it, and has less memory than the third choice."""
    gpus, _ = choose({"PROFILE": "qwen3-8b", "MAX_MODEL_LEN": "8192"})

    assert find_pool("5090").usd_per_s is None
    assert [pool.name for pool in gpus.pools] == ["AMPERE_24", "ADA_24", "AMPERE_48"]


def test_gpu_too_small_is_a_problem_with_ways_out():
    gpus, [problem] = choose({"PROFILE": "qwen3-8b"}, gpu=["L4", "H100"], gpus=1)

    assert gpus is None
    assert (
        "1 x AMPERE_24 holds Qwen/Qwen3-8B, but not a request of 40,960 tokens" in problem.message
    )
    assert "MAX_MODEL_LEN=" in problem.expected
