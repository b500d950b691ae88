"""Addresses inside and outside of every range that IANA has set apart."""

import ipaddress

import pytest

from worker.engine.addresses import (
    GLOBAL_IPV6,
    SPECIAL_IPV4,
    SPECIAL_IPV6,
    find_embedded,
    is_public,
)

NETWORKS = [*SPECIAL_IPV4, *SPECIAL_IPV6]

NOT_PUBLIC = """
0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.1 100.127.255.255 127.0.0.1 127.8.8.8
169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.8 192.0.0.170 192.0.2.1
192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::2 ::127.0.0.1 ::8.8.8.8 ::ffff:0:127.0.0.1
::ffff:0:8.8.8.8 100::1 100:0:0:1::1 200::1 64:ff9b:1::1 64:ff9b:1::808:808 64:ff9b:2::1 2001:2::1
2001:10::1 2001:20::1 2001:30::1 2001:db8::1 3fff::1 3fff:fff::1 4000::1 5f00::1 5f00:ffff::1
8000::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fe80::1%25eth0 febf::1 fec0::1 fec0:ffff::1
feff::1 ff02::1 ff0e::1 ffff::1 2606:4700::1111%eth0
""".split()  # noqa: SIM905

EMBEDDED = """
::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::ffff:7f00:1 ::ffff:192.0.0.1
64:ff9b::127.0.0.1 64:ff9b::a9fe:a9fe 64:ff9b::10.0.0.1 2002:7f00:1:: 2002:a9fe:a9fe::1
2002:c0a8:1::1 2002:a00:1:: 2001:0:4136:e378:8000:63bf:80ff:fffe 2001:0:7f00:1:8000:63bf:f7f7:f7f7
2001::1
""".split()  # noqa: SIM905

PUBLIC = """
1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1
169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0
198.17.255.255 198.20.0.0 223.255.255.255 2000::1 2001:200::1 2001:4860:4860::8888 2001:db7::1
2001:db9::1 2003::1 2400:cb00::1 2606:4700::1111 2a00:1450:4001::1 3fff:1000::1 ::ffff:8.8.8.8
64:ff9b::808:808 2002:808:808:: 2001:0:808:808:8000:63bf:f7f7:f7f7
""".split()  # noqa: SIM905

NO_ADDRESS = ["", "localhost", "8.8.8", "0x08080808", "8.8.8.8.", " 8.8.8.8", "[::1]", "08.8.8.8"]


@pytest.mark.parametrize("address", [*NOT_PUBLIC, *EMBEDDED])
def test_is_public_refuses_what_only_some_network_reaches(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_is_public_accepts_the_public_internet(address):
    assert is_public(address)


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_is_public_refuses_what_is_no_address(text):
    assert not is_public(text)


@pytest.mark.parametrize("network", NETWORKS)
def test_is_public_refuses_both_ends_of_each_special_range(network):
    found = ipaddress.ip_network(network)
    assert not is_public(str(found[0]))
    assert not is_public(str(found[-1]))


@pytest.mark.parametrize("network", [n for n in NETWORKS if ":" in n])
def test_special_ipv6_ranges_are_within_the_global_one(network):
    assert ipaddress.IPv6Network(network).subnet_of(GLOBAL_IPV6)


@pytest.mark.parametrize("network", ["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16"])
def test_is_public_refuses_every_form_of_a_private_ipv4_address(network):
    inner = int(ipaddress.IPv4Network(network)[77])
    forms = (
        inner | 0xFFFF << 32,
        inner | 0x64FF9B << 96,
        inner << 80 | 0x2002 << 112,
        0x2001 << 112 | inner << 64 | (~0x08080808 & 0xFFFFFFFF),
        0x2001 << 112 | 0x08080808 << 64 | (~inner & 0xFFFFFFFF),
    )
    for form in forms:
        address = ipaddress.IPv6Address(form)
        assert ipaddress.IPv4Address(inner) in find_embedded(address)
        assert not is_public(str(address))
