import pytest

from worker.profile.pools import find_device_pool


@pytest.mark.parametrize(
    ("device", "pool"),
    [
        ("NVIDIA H100 80GB HBM3", "ADA_80_PRO"),
        ("NVIDIA H100 NVL", "ADA_80_PRO"),
        ("NVIDIA H200", "HOPPER_141"),
        ("NVIDIA A100-SXM4-80GB", "AMPERE_80"),
        ("NVIDIA L40S", "ADA_48_PRO"),
        ("NVIDIA L4", "AMPERE_24"),
        ("NVIDIA GeForce RTX 4090", "ADA_24"),
        ("NVIDIA RTX A6000", "AMPERE_48"),
        ("NVIDIA RTX 6000 Ada Generation", "ADA_48_PRO"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "BLACKWELL_96"),
        ("Quadro P400", None),
        ("", None),
    ],
)
def test_find_device_pool_reads_the_drivers_names(device, pool):
    found = find_device_pool(device)
    assert (None if found is None else found.name) == pool
