"""The page and its files, with headers that block foreign content."""

from __future__ import annotations

import hashlib
import importlib.metadata
import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent / "static"

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""No script or style but our files, nothing from elsewhere, and no text that becomes HTML."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}

TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


def routes() -> list[web.RouteDef]:
    """Return the page at `/` and its files below `/console/`."""
    files = sorted(path for path in FOLDER.rglob("*") if path.is_file())
    found = [web.get("/", show_page), web.get("/favicon.ico", show_icon)]
    for path in files:
        found.append(web.get(f"/console/{path.relative_to(FOLDER)}", _serve(path)))
    return found


async def show_page(_request: web.Request) -> web.Response:
    """Answer with the page."""
    from worker_tools.dev.web.snippets import environment

    text = environment().get_template("index.html.j2").render(version=worker_version())
    return web.Response(text=text, content_type="text/html", headers=HEADERS)


async def show_icon(_request: web.Request) -> web.Response:
    """Answer the request that browsers make by themselves."""
    raise web.HTTPFound("/console/icon.svg")


def worker_version() -> str:
    """Return the version of this package."""
    return importlib.metadata.version("runpod-vllm-worker")


def _serve(path: Path) -> Callable[[web.Request], Awaitable[web.Response]]:
    kind = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "text/plain"

    async def serve(request: web.Request) -> web.Response:
        body = path.read_bytes()
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {**HEADERS, "ETag": tag}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    return serve
