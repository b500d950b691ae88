"""`best_of`: requests more sequences from vLLM and keeps the likeliest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from worker.request.engine_request import BestOf


def find_conflict(
    *, keep: int, best_of: int, stream: bool, temperature: object, beam: bool
) -> str | None:
    """Return why `keep` of `best_of` sequences cannot be chosen; None if they can.

    Args:
        keep: The request's `n`.
        best_of: Sequences to generate, >= `keep`.
        stream: Whether the answer is streamed.
        temperature: The request's; None where it has none.
        beam: Whether beam search finds the sequences.
    """
    if stream and best_of > keep:
        return (
            f"cannot be above n ({keep}) in a stream, since the best sequences are known only at "
            "the end; send stream: false"
        )
    if temperature == 0 and best_of > 1 and not beam:
        return f"must be 1 with temperature 0, which always gives one answer; got {best_of}"
    return None


def request_best_of(body: dict[str, Any], *, keep: int, best_of: int, chat: bool) -> BestOf:
    """Change `body` so that vLLM generates `best_of` sequences with log-probabilities.

    Returns:
        Which sequences to keep.
    """
    body["n"] = best_of
    if body.get("use_beam_search"):
        return BestOf(keep=keep, generated=best_of, ranked=True, drop_logprobs=False)
    wanted = bool(body.get("logprobs")) if chat else body.get("logprobs") is not None
    if not wanted:
        body["logprobs"] = True if chat else 0
    return BestOf(
        keep=keep,
        generated=best_of,
        drop_logprobs=not wanted,
        echoed=bool(body.get("echo")) and not chat,
    )


def select_best(best_of: BestOf, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return vLLM's answer with the best sequences only, best first, numbered from 0.

    The score is the mean log-probability of a sequence's own tokens, which does not depend on its
    length. Usage includes the dropped sequences.

    Args:
        best_of: How many to keep of how many, for each prompt.
        body: Answer of the chat or completion route, not streamed.
    """
    choices = body["choices"]
    prompt_tokens = body["usage"]["prompt_tokens"] if best_of.echoed else 0
    kept: list[dict[str, Any]] = []
    for start in range(0, len(choices), best_of.generated):
        group = choices[start : start + best_of.generated]
        if not best_of.ranked:
            # sorted() is stable: equal sequences stay in vLLM's order.
            group = sorted(group, key=lambda c: mean_logprob(c, prompt_tokens), reverse=True)
        kept += group[: best_of.keep]
    return {**body, "choices": [_renumber(each, i, best_of) for i, each in enumerate(kept)]}


def mean_logprob(choice: Mapping[str, Any], prompt_tokens: int = 0) -> float:
    """Return the mean log-probability of a sequence's tokens; minus infinity if there are none.

    Args:
        choice: Member of `choices`, of either route.
        prompt_tokens: Tokens of an echoed prompt at the start, which do not count.
    """
    logprobs = choice.get("logprobs") or {}
    content = logprobs.get("content")
    values = (
        [token["logprob"] for token in content]
        if content is not None
        else (logprobs.get("token_logprobs") or [])[prompt_tokens:]
    )
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else -math.inf


def _renumber(choice: Mapping[str, Any], index: int, best_of: BestOf) -> dict[str, Any]:
    renumbered = {**choice, "index": index}
    if best_of.drop_logprobs:
        renumbered["logprobs"] = None
    return renumbered
