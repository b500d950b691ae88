"""The self-test: vLLM answers one short request before the worker takes its first job.

A model can load and still fail every request: a kernel that the GPU lacks, weights of the wrong
shape, memory that only the first step needs. Without a trial the first user would find out, and
the platform would send the next job to the same worker.
"""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp

from worker.engine.client import EngineClient
from worker.errors import shorten

TEXT = "Hello"

TRIALS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/completions", {"prompt": TEXT, "max_tokens": 2}),
    ("/v1/embeddings", {"input": TEXT}),
    ("/classify", {"input": TEXT}),
    ("/score", {"text_1": TEXT, "text_2": TEXT}),
    ("/pooling", {"input": TEXT}),
)
"""One request per kind of model; vLLM serves only the routes of the kind that it has loaded."""

MESSAGE_LIMIT = 500
"""Characters of vLLM's answer that are repeated."""


class TrialError(Exception):
    """The engine did not answer; the text says how."""


async def try_engine(client: EngineClient, model: str, timeout_s: float) -> str | None:
    """Let the engine answer one request.

    Args:
        client: The connections to it.
        model: The name under which it serves the model.
        timeout_s: Longest time for the answer, seconds.

    Returns:
        The route that answered; None for a model that none of `TRIALS` fits, e.g. one for speech.

    Raises:
        TrialError: It failed, or took too long.
    """
    try:
        async with asyncio.timeout(timeout_s):
            for route, body in TRIALS:
                async with client.request("POST", route, {"model": model, **body}) as response:
                    if response.status == 404:
                        continue
                    text = (await response.read()).decode(errors="replace")
                    # What it refuses, it has at least read; only a failure of its own counts.
                    if response.status >= 500:
                        answer = shorten(text, MESSAGE_LIMIT)
                        raise TrialError(f"{route} answered {response.status}: {answer}")
                    return route
    except TimeoutError:
        raise TrialError(f"no answer within {timeout_s:.0f} s") from None
    except aiohttp.ClientError as error:
        raise TrialError(f"the answer broke off ({type(error).__name__})") from error
    return None
