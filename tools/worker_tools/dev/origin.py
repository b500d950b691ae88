"""Refuses requests that a page of another origin makes with the user's browser.

The endpoint asks for no key, and some of its GET operations change its state, e.g. job-take. Other
pages therefore may not send any request; they may link to the console page. Programs send neither
header. Source: https://www.w3.org/TR/fetch-metadata/.
"""

from __future__ import annotations

from aiohttp import web

from worker_tools.dev.reply import ApiError

PAGE = "/"
"""The path to which a page of another origin may link."""

OWN_SITES = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site` for our own page, and for what the user opened."""


def check_origin(request: web.Request) -> None:
    """Check that a request does not come from a page of another origin.

    Raises:
        ApiError: 403, it does.
    """
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.host}":
        raise ApiError(403, f"pages of another origin ({origin[:200]!r}) may not use this endpoint")
    site = request.headers.get("Sec-Fetch-Site")
    if site is None or site in OWN_SITES:
        return
    is_link = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET"
    if not (is_link and request.path == PAGE):
        raise ApiError(403, "pages of another origin may not use this endpoint")
