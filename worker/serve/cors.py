"""CORS: preflight requests, and the headers that let a page of another origin read a response.

The rules are those of the Fetch standard, https://fetch.spec.whatwg.org/#http-cors-protocol. The
worker applies them itself, because it answers many requests without vLLM: errors, health checks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import hdrs, web

MAX_AGE_S = 7200
"""Seconds that a browser may cache a preflight; Chrome's maximum."""

ANY = "*"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Cors:
    """Which pages may use the server from another origin; the attributes are vLLM's options.

    Attributes:
        origins: Origins such as `https://example.com`; `*` allows all.
        methods: HTTP methods; `*` allows all.
        headers: Request headers; `*` allows all.
        credentials: Whether pages may send cookies.
    """

    origins: Sequence[str]
    methods: Sequence[str] = (ANY,)
    headers: Sequence[str] = (ANY,)
    credentials: bool = False

    def install(self, app: web.Application) -> None:
        """Answer the preflights of `app` and add the headers to all of its responses."""
        app.middlewares.append(self._answer_preflight)
        app.on_response_prepare.append(self._add_headers)

    @web.middleware
    async def _answer_preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        # A browser sends no key with a preflight, so this precedes the check of the key.
        if request.method == hdrs.METH_OPTIONS and _is_preflight(request.headers):
            return web.Response(status=204, headers=self._preflight_headers(request.headers))
        return await handler(request)

    def _preflight_headers(self, asked: Mapping[str, str]) -> dict[str, str]:
        method = asked[hdrs.ACCESS_CONTROL_REQUEST_METHOD]
        # "*" would not include Authorization, so the requested names are repeated.
        headers = asked.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, "")
        return {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: _allow(self.methods, method),
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _allow(self.headers, headers),
            hdrs.ACCESS_CONTROL_MAX_AGE: str(MAX_AGE_S),
            hdrs.VARY: f"{hdrs.ACCESS_CONTROL_REQUEST_METHOD}, "
            f"{hdrs.ACCESS_CONTROL_REQUEST_HEADERS}",
        }

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        # With credentials, browsers do not treat "*" as a wildcard for origins or names.
        exposed = ", ".join(dict.fromkeys(headers)) if self.credentials else ANY
        if ANY in self.origins and not self.credentials:
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY
        else:
            # Also without an allowed origin: a cache must not mix up the responses.
            varies = (headers.get(hdrs.VARY), hdrs.ORIGIN)
            headers[hdrs.VARY] = ", ".join(value for value in varies if value)
            origin = request.headers.get(hdrs.ORIGIN, "")
            if not self._allows(origin):
                return
            headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = exposed
        if self.credentials:
            headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"

    def _allows(self, origin: str) -> bool:
        if not origin:
            return False
        # Browsers send the origin in lower case and without a path.
        return ANY in self.origins or origin in {
            known.rstrip("/").lower() for known in self.origins
        }


def _is_preflight(headers: Mapping[str, str]) -> bool:
    return hdrs.ORIGIN in headers and hdrs.ACCESS_CONTROL_REQUEST_METHOD in headers


def _allow(known: Sequence[str], asked: str) -> str:
    return asked if ANY in known else ", ".join(known)
