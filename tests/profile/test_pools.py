"""RunPod's pools: names, order, prices."""

from typing import get_args

import pytest

from worker.profile.pools import POOLS, SLICES, PoolName, find_gpu, find_pool, known_gpus


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("H100", "ADA_80_PRO"),
        ("nvidia h200", "HOPPER_141"),
        ("RTX 4090", "ADA_24"),
        ("NVIDIA GeForce RTX 3090", "AMPERE_24"),
        ("a6000", "AMPERE_48"),
        ("RTX A6000", "AMPERE_48"),
        ("6000 Ada", "ADA_48_PRO"),
        ("RTX 4000", "AMPERE_16"),
        ("ampere_80", "AMPERE_80"),
        ("RTX_PRO_6000", "BLACKWELL_96"),
        ("L40s", "ADA_48_PRO"),
        ("B300", None),
    ],
)
def test_find_pool_knows_names_and_spellings(name, pool):
    found = find_pool(name)

    assert (found and found.name) == pool


@pytest.mark.parametrize("name", known_gpus())
def test_find_pool_knows_every_name_that_it_offers(name):
    assert find_pool(name) is not None


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("PRO 6000 MIG 24GB", "PRO 6000 MIG 24GB"),
        ("nvidia rtx pro 6000 mig 2g.48gb", "PRO 6000 MIG 48GB"),
        ("RTX PRO 6000", "BLACKWELL_96"),
        ("H100", "ADA_80_PRO"),
    ],
)
def test_find_gpu_finds_slices_and_pools(name, found):
    assert find_gpu(name).name == found


def test_slice_is_no_pool():
    assert [find_pool(item.name) for item in SLICES] == [None] * len(SLICES)


def test_pools_are_complete_and_sane():
    assert [pool.name for pool in POOLS] == list(get_args(PoolName))
    for pool in (*POOLS, *SLICES):
        nominal_mib = pool.nominal_gb * 1024
        assert 0.9 * nominal_mib < pool.memory_mib <= 1.03 * nominal_mib
        assert (pool.usd_per_s is not None) or not pool.hub


def test_pools_without_a_price_are_those_that_runpod_does_not_list():
    unpriced = [item.name for item in (*POOLS, *SLICES) if item.usd_per_s is None]

    assert unpriced == ["ADA_32_PRO", *(item.name for item in SLICES)]
    assert find_pool("RTX PRO 6000").usd_per_s < find_pool("H100").usd_per_s
