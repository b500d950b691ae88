"""Which IP addresses are on the public internet.

Python's `is_global` follows the tables of its own version: 3.11 treats fec0::/10, 5f00::/16
and other ranges as public. This table is the same in every Python.
"""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

SPECIAL_IPV4 = (
    "0.0.0.0/8",  # "this network", RFC 791
    "10.0.0.0/8",  # private use, RFC 1918
    "100.64.0.0/10",  # shared by customers of a provider, RFC 6598
    "127.0.0.0/8",  # loopback, RFC 1122
    "169.254.0.0/16",  # link-local, RFC 3927; metadata of clouds
    "172.16.0.0/12",  # private use, RFC 1918
    "192.0.0.0/24",  # protocol assignments, RFC 6890
    "192.0.2.0/24",  # documentation, RFC 5737
    "192.31.196.0/24",  # AS112, RFC 7535
    "192.52.193.0/24",  # automatic multicast tunnels, RFC 7450
    "192.88.99.0/24",  # relays of 6to4, deprecated, RFC 7526
    "192.168.0.0/16",  # private use, RFC 1918
    "192.175.48.0/24",  # AS112, RFC 7534
    "198.18.0.0/15",  # benchmarks, RFC 2544
    "198.51.100.0/24",  # documentation, RFC 5737
    "203.0.113.0/24",  # documentation, RFC 5737
    "224.0.0.0/4",  # multicast, RFC 5771
    "240.0.0.0/4",  # reserved, RFC 1112, with the limited broadcast
)
"""The IANA IPv4 Special-Purpose Address Registry as of 2025-10, and multicast.

https://www.iana.org/assignments/iana-ipv4-special-registry. Its few globally reachable ranges serve
the network itself (AS112, tunnels) and host no media.
"""

GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
"""All that IANA has allocated for global unicast (RFC 4291, 2.4).

https://www.iana.org/assignments/ipv6-address-space, as of 2025-10. Outside are loopback,
IPv4-compatible and -translated addresses, 64:ff9b:1::/48, 100::/64, 5f00::/16, fc00::/7, fe80::/10,
fec0::/10, ff00::/8 and unallocated ranges.
"""

SPECIAL_IPV6 = (
    "2001::/23",  # protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID, drones
    "2001:db8::/32",  # documentation, RFC 3849
    "2620:4f:8000::/48",  # AS112, RFC 7534
    "3fff::/20",  # documentation, RFC 9637
)
"""The IANA IPv6 Special-Purpose Address Registry as of 2025-10-09, its part in `GLOBAL_IPV6`.

6to4 and Teredo are judged by the IPv4 addresses in them.
https://www.iana.org/assignments/iana-ipv6-special-registry.
"""

MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
"""IPv4 in the interface of IPv6, RFC 4291."""

TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""A gateway (NAT64) leads to the IPv4 address in the last 32 bits, RFC 6052."""

SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
"""A relay leads to the IPv4 address in bits 16 to 47, RFC 3056."""

TEREDO = ipaddress.IPv6Network("2001::/32")
"""A server and a client, IPv4 addresses both, the client's inverted, RFC 4380."""

_IPV4_NETWORKS = tuple(ipaddress.IPv4Network(network) for network in SPECIAL_IPV4)
_IPV6_NETWORKS = tuple(ipaddress.IPv6Network(network) for network in SPECIAL_IPV6)


def is_public(address: str) -> bool:
    """Return whether `address` is an IP address on the public internet.

    An IPv6 address that leads to an IPv4 address is as public as that one. An address with a scope,
    such as `fe80::1%eth0`, belongs to a link.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv4Address):
        return not any(found in network for network in _IPV4_NETWORKS)
    if found.scope_id is not None:
        return False
    embedded = find_embedded(found)
    if embedded:
        return all(is_public(str(inner)) for inner in embedded)
    return found in GLOBAL_IPV6 and not any(found in network for network in _IPV6_NETWORKS)


def find_embedded(address: IPv6Address) -> list[IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address embeds; empty for most addresses."""
    bits = int(address)
    if address in MAPPED or address in TRANSLATED:
        return [IPv4Address(bits & 0xFFFFFFFF)]
    if address in SIX_TO_FOUR:
        return [IPv4Address(bits >> 80 & 0xFFFFFFFF)]
    if address in TEREDO:
        return [IPv4Address(bits >> 64 & 0xFFFFFFFF), IPv4Address(~bits & 0xFFFFFFFF)]
    return []
