"""Converts vLLM's responses to the native shape: `choices[].tokens` are texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from worker.errors import RequestError
from worker.request.best_of import select_best
from worker.request.engine_error import read_error
from worker.request.engine_request import EngineRequest
from worker.request.parameters import ignored_warning

_DATA = b"data:"
_DONE = b"[DONE]"

_REASONING = "reasoning"
_MESSAGE_EXTRAS = (_REASONING, "refusal", "tool_calls")
_CHOICE_EXTRAS = (
    "stop_reason",
    "logprobs",
    "prompt_logprobs",
    "token_ids",
    "prompt_token_ids",
    "routed_experts",
)
_BODY_EXTRAS = (
    "prompt_text",
    "prompt_logprobs",
    "prompt_token_ids",
    "kv_transfer_params",
    "ec_transfer_params",
    "metrics",
)


def build_reply(request: EngineRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Return the response to a request without streaming, in the shape of its caller.

    Args:
        request: The request.
        body: vLLM's JSON body, status 200.
    """
    if request.shape == "native":
        return native_reply(request, body)
    return body if request.best_of is None else select_best(request.best_of, body)


def native_reply(request: EngineRequest, body: dict[str, Any]) -> dict[str, Any]:
    """Return a chat or completion answer in the native shape.

    Args:
        request: The native request.
        body: vLLM's JSON body, status 200.

    Returns:
        `{"choices": [{"tokens": [text], "finish_reason": …}, …], "usage": {"input", "output"}}`,
        with reasoning, tool calls, log-probabilities and token ids where the answer has them.
    """
    if request.best_of is not None:
        body = select_best(request.best_of, body)
    reply: dict[str, Any] = {
        "choices": [_native_choice(choice, _message_extras(request)) for choice in body["choices"]],
        "usage": _native_usage(body.get("usage") or {}),
    }
    reply |= {name: body[name] for name in _BODY_EXTRAS if body.get(name) is not None}
    warnings = ignored_warning(request.ignored)
    if request.limit_warning is not None and _cut(reply["choices"]):
        warnings.append(request.limit_warning)
    if warnings:
        reply["warnings"] = warnings
    return reply


def _message_extras(request: EngineRequest) -> tuple[str, ...]:
    """Return the names of the message fields, in addition to the text, that the caller gets."""
    if request.drop_reasoning:
        return tuple(name for name in _MESSAGE_EXTRAS if name != _REASONING)
    return _MESSAGE_EXTRAS


def _native_choice(choice: Mapping[str, Any], extras: Sequence[str]) -> dict[str, Any]:
    message = choice.get("message")
    source = message if message is not None else {"content": choice.get("text")}
    native: dict[str, Any] = {
        "tokens": [source.get("content") or ""],
        "finish_reason": choice.get("finish_reason"),
    }
    native |= {name: source[name] for name in extras if source.get(name)}
    native |= {name: choice[name] for name in _CHOICE_EXTRAS if choice.get(name) is not None}
    return native


def _native_usage(usage: Mapping[str, Any]) -> dict[str, int]:
    native = {
        "input": usage.get("prompt_tokens") or 0,
        "output": usage.get("completion_tokens") or 0,
    }
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is not None:
        native["cached"] = cached
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if reasoning is not None:
        native["reasoning"] = reasoning
    return native


class NativeStream:
    """Converts one streamed response; each output has the new part since the last one.

    Attributes:
        error: The error that vLLM reported within the stream; check it after each `feed`.
        finished: True after the stream's regular end.
    """

    def __init__(self, request: EngineRequest) -> None:
        self.error: RequestError | None = None
        self.finished = False
        self._request = request
        self._extras = _message_extras(request)
        self._sequences = request.choices // request.prompts
        self._inputs: dict[int, int] = {}
        self._outputs: dict[int, int] = {}
        self._totals = {"input": 0, "output": 0}
        self._usage: dict[str, int] = {"input": 0, "output": 0}
        self._reported = self._usage
        self._warned = False
        self._first = ignored_warning(request.ignored)

    def feed(self, events: Sequence[bytes]) -> dict[str, Any] | None:
        r"""Return one native output for the new data of the events; None if there is none.

        Args:
            events: Whole server-sent events, in order, e.g. `b"data: {…}\n\n"`.

        Returns:
            `{"choices": [{"tokens": [delta, …]}, …], "usage": {"input", "output"}}`, where usage
            is the running total and `finish_reason` is in the chunk that ends a choice.
            Of several choices, only those with something new are listed, each with its `index`.
        """
        choices: dict[int, dict[str, Any]] = {}
        output: dict[str, Any] = {"choices": [], "usage": self._usage}
        news = False
        for event in events:
            chunk = self._decode(event)
            if chunk is not None:
                news |= self._add_event(chunk, choices, output)
        if not news:
            return None
        output["choices"] = self._list(choices)
        output["usage"] = self._reported = self._usage
        warnings, self._first = self._first, []
        if self._request.limit_warning and not self._warned and _cut(output["choices"]):
            warnings.append(self._request.limit_warning)
            self._warned = True
        if warnings:
            output["warnings"] = warnings
        return output

    def _decode(self, event: bytes) -> dict[str, Any] | None:
        """Return an event's JSON object; None for the end mark, comments and errors."""
        data = b"".join(
            line[len(_DATA) :].strip() for line in event.splitlines() if line.startswith(_DATA)
        )
        if data == _DONE:
            self.finished = True
        if not data or data == _DONE or self.error is not None:
            return None
        chunk: dict[str, Any] = orjson.loads(data)
        if chunk.get("error"):
            self.error = read_error(None, chunk, self._request)
            return None
        return chunk

    def _list(self, choices: Mapping[int, dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the choices with new data; a single choice is always listed."""
        if self._request.choices == 1:
            return [choices.get(0, {"tokens": []})]
        return [{"index": index, **choices[index]} for index in sorted(choices)]

    def _add_event(
        self,
        chunk: Mapping[str, Any],
        choices: dict[int, dict[str, Any]],
        output: dict[str, Any],
    ) -> bool:
        """Add one event of vLLM to the output; return whether it has new data."""
        found = {name: chunk[name] for name in _BODY_EXTRAS if chunk.get(name) is not None}
        output |= found
        news = bool(found)
        for choice in chunk["choices"]:
            index = choice["index"]
            native = choices.get(index, {"tokens": []})
            if _add_choice(choice, native, self._extras):
                choices[index] = native
                news = True
        usage = chunk.get("usage")
        if usage is not None:
            self._count(chunk["choices"], _native_usage(usage))
            # The last chunk has no choices, only the final totals.
            news |= not chunk["choices"] and self._usage != self._reported
        return news

    def _count(self, choices: Sequence[Mapping[str, Any]], usage: dict[str, int]) -> None:
        """Update the totals. An event's usage counts its sequence; the last one's counts all."""
        if not choices:
            self._usage = usage
            return
        index = choices[0]["index"]
        prompt = index // self._sequences
        # Incremental: a sum over all sequences for each event would be quadratic.
        self._totals["output"] += usage["output"] - self._outputs.get(index, 0)
        self._totals["input"] += usage["input"] - self._inputs.get(prompt, 0)
        self._outputs[index] = usage["output"]
        self._inputs[prompt] = usage["input"]
        self._usage = {**self._usage, **self._totals}


def _add_choice(choice: Mapping[str, Any], native: dict[str, Any], extras: Sequence[str]) -> bool:
    """Add the deltas of a streamed choice to the output; return whether there were any."""
    delta = choice.get("delta")
    text = choice.get("text") if delta is None else delta.get("content")
    news = False
    if text:
        native["tokens"].append(text)
        news = True
    for name in extras:
        value = (delta or {}).get(name)
        if value:
            native.setdefault(name, []).extend(value if isinstance(value, list) else [value])
            news = True
    for name in ("logprobs", "token_ids", "prompt_token_ids"):
        value = choice.get(name)
        if value is not None:
            native.setdefault(name, []).extend(value if isinstance(value, list) else [value])
            news = True
    for name in ("finish_reason", "stop_reason"):
        if choice.get(name) is not None:
            native[name] = choice[name]
            news = True
    return news


def _cut(choices: Sequence[Mapping[str, Any]]) -> bool:
    return any(choice.get("finish_reason") == "length" for choice in choices)
