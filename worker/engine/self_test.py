"""The self-test: vLLM answers one short request before the worker fetches its first job.

A model can load and still fail every request: the GPU lacks a kernel, the weights have the wrong
shape, or the first step needs more memory. Without a self-test the first user's request would
fail, and the platform would send the next job to the same worker.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from worker.engine.client import EngineClient
from worker.errors import shorten

TEXT = "Hello"

PROBES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/completions", {"prompt": TEXT, "max_tokens": 2}),
    ("/v1/embeddings", {"input": TEXT}),
    ("/classify", {"input": TEXT}),
    ("/score", {"text_1": TEXT, "text_2": TEXT}),
    ("/pooling", {"input": TEXT}),
)
"""One request per kind of model; vLLM serves only the routes of the kind that it has loaded."""

MESSAGE_LIMIT = 500
"""Characters of vLLM's response that the error repeats."""


class SelfTestError(Exception):
    """The engine failed the self-test; the text has the reason."""


async def run_self_test(client: EngineClient, model: str, timeout_s: float) -> str | None:
    """Send one request to the engine.

    Args:
        client: The connections to the engine.
        model: The served model name.
        timeout_s: Time limit for the response, seconds.

    Returns:
        The route that answered; None if no probe fits the model, e.g. one for speech.

    Raises:
        SelfTestError: The request failed or exceeded the time limit.
    """
    try:
        async with asyncio.timeout(timeout_s):
            for route, body in PROBES:
                async with client.request("POST", route, {"model": model, **body}) as response:
                    if response.status == 404:
                        continue
                    text = (await response.read()).decode(errors="replace")
                    # A 4xx proves that the engine parsed the request; only a 5xx is a failure.
                    if response.status >= 500:
                        answer = shorten(text, MESSAGE_LIMIT)
                        raise SelfTestError(f"{route} answered {response.status}: {answer}")
                    return route
    except TimeoutError:
        raise SelfTestError(f"no answer within {timeout_s:.0f} s") from None
    except aiohttp.ClientError as error:
        raise SelfTestError(f"the response was interrupted ({type(error).__name__})") from error
    return None
