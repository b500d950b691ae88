"""RunPod's batch operations over HTTP."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from worker_tools.dev.batch import Batch, BatchStore
from worker_tools.dev.reply import ApiError, parse_object, read_body, reply_json


class BatchApi:
    """Routes below `/batch`."""

    def __init__(self, batches: BatchStore) -> None:
        self._batches = batches

    def routes(self, base: str) -> list[web.RouteDef]:
        """Return the routes below `base`, e.g. `/v2/local`."""
        one = f"{base}/batch/{{batch}}"
        return [
            web.post(f"{base}/batch", self._create),
            web.get(f"{base}/batch", self._list),
            web.get(one, self._get),
            web.put(one, self._update),
            web.post(f"{one}/requests", self._add),
            web.get(f"{one}/requests", self._requests),
            web.delete(f"{one}/requests/{{request}}", self._remove),
            web.post(f"{one}/finalize", self._finalize),
            web.post(f"{one}/cancel", self._cancel),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        items = parse_array(await self._read(request))
        batch = self._batches.create(parse_inputs(items))
        return reply_json({"id": batch.id, "status": batch.status})

    async def _list(self, request: web.Request) -> web.Response:
        batches = [batch.payload() for batch in self._batches.newest_first()]
        return reply_json({"batches": batches})

    async def _get(self, request: web.Request) -> web.Response:
        return reply_json(self._find(request).payload())

    async def _update(self, request: web.Request) -> web.Response:
        batch = self._find(request)
        name = parse_object(await self._read(request)).get("name")
        if not isinstance(name, str):
            raise ApiError(400, 'the body has no "name"; send {"name": "..."}')
        batch.name = name
        return reply_json(batch.payload())

    async def _add(self, request: web.Request) -> web.Response:
        batch = self._find(request)
        items = parse_object(await self._read(request)).get("requests")
        if not isinstance(items, list):
            raise ApiError(400, 'the body has no "requests"; send {"requests": [{"input": {...}}]}')
        inputs = parse_inputs(items)
        self._batches.add(batch, inputs)
        return reply_json({"id": batch.id, "added": len(inputs)})

    async def _requests(self, request: web.Request) -> web.Response:
        limits = self._batches.limits
        offset = parse_number(request, "offset", 0, least=0)
        limit = parse_number(request, "limit", limits.batch_page, least=1)
        return reply_json(self._find(request).page(offset, min(limit, limits.batch_page_max)))

    async def _remove(self, request: web.Request) -> web.Response:
        batch = self._find(request)
        self._batches.remove(batch, request.match_info["request"])
        return reply_json(batch.payload())

    async def _finalize(self, request: web.Request) -> web.Response:
        batch = self._find(request)
        self._batches.finalize(batch)
        return reply_json(batch.payload())

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self._find(request)
        self._batches.cancel(batch)
        return reply_json(batch.payload())

    def _find(self, request: web.Request) -> Batch:
        return self._batches.find(request.match_info["batch"])

    async def _read(self, request: web.Request) -> bytes:
        return await read_body(request, self._batches.limits.batch_body_bytes)


def parse_array(body: bytes) -> list[Any]:
    """Parse the body that creates a batch.

    Raises:
        ApiError: 400, it is not a JSON array.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from error
    if not isinstance(value, list):
        raise ApiError(400, 'the body has to be a JSON array, such as [{"input": {...}}]')
    return value


def parse_inputs(items: list[Any]) -> list[Any]:
    """Return the input of each request.

    Raises:
        ApiError: 400, one has no input.
    """
    for index, item in enumerate(items):
        if not isinstance(item, dict) or item.get("input") is None:
            raise ApiError(400, f'request {index} has no "input"; send {{"input": {{...}}}}')
    return [item["input"] for item in items]


def parse_number(request: web.Request, name: str, default: int, least: int) -> int:
    """Return a whole number from the query string.

    Raises:
        ApiError: 400, it is not one, or too small.
    """
    text = request.query.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise ApiError(400, f"{name} has to be a whole number of at least {least}")
    return int(text)
