"""Media that a request names by URL are fetched from public addresses only.

vLLM fetches any URL from its own network: a job could read the cloud's metadata service or an
internal database page. The check is made when a connection is opened, not when the URL is parsed.
It therefore covers every route and field, redirects, and names that resolve to another address
the second time. With an HTTP proxy in the environment, it sees only the proxy's address: a private
proxy is refused, and a public one must filter its own targets.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from worker.engine.addresses import is_public

PUBLIC = "worker-public"
ANY = "worker-any"
"""Names of the connectors that `worker.engine.child` registers with vLLM."""

CONNECTOR = "VLLM_MEDIA_CONNECTOR"
"""vLLM's variable that selects a connector."""

NO_LOCAL_FILES = (
    "Local files are not read. Send the media itself as a data: URL, or set "
    "ALLOWED_LOCAL_MEDIA_PATH on the endpoint to the folder that may be read."
)

Refuse = Callable[[str], Exception]
"""Creates the error for a refused request from its message."""

AddressInfo = tuple[int, int, int, str, tuple[object, ...]]


def explain(host: str) -> str:
    """Return why nothing is fetched from `host`, with a remedy."""
    return (
        f"{host} is not on the public internet, and media is fetched from there only. Send the "
        "media itself as a data: URL, or set ALLOW_PRIVATE_MEDIA=true on the endpoint."
    )


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only.

    Args:
        refuse: Creates the error for a name without a public address.
        resolver: Resolves names.
    """

    def __init__(self, refuse: Refuse, resolver: AbstractResolver) -> None:
        self._refuse = refuse
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the public addresses of `host`."""
        found = await self._resolver.resolve(host, port, family)
        public = [result for result in found if is_public(result["host"])]
        if not public:
            raise self._refuse(explain(host))
        return public

    async def close(self) -> None:
        """Close the wrapped resolver."""
        await self._resolver.close()


def open_public_session(
    refuse: Refuse, resolver: AbstractResolver | None = None
) -> aiohttp.ClientSession:
    """Return a session that connects to public addresses only.

    Args:
        refuse: Makes the error that a request to any other address raises. It must not be an
            OSError, which aiohttp takes for a failed connection and vLLM for worth another try.
        resolver: Resolves names; None uses aiohttp's own.
    """

    def make_socket(info: AddressInfo) -> socket.socket:
        # The resolver is not used for an address in the URL itself.
        family, kind, protocol, _name, address = info
        if not is_public(str(address[0])):
            raise refuse(explain(str(address[0])))
        return socket.socket(family, kind, protocol)

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            resolver=PublicResolver(refuse, resolver or aiohttp.DefaultResolver()),
            socket_factory=make_socket,
        ),
        # As in vLLM's own session.
        trust_env=True,
    )
