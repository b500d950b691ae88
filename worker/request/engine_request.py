"""A parsed job: the HTTP request to vLLM, and how to convert its response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_BODY_BYTES = 30_000_000
"""Largest body of a request and of a response. RunPod's load balancer accepts no more in either
direction, and its queue accepts less."""

Method = Literal["GET", "POST"]
Shape = Literal["openai", "native"]


@dataclass(frozen=True, slots=True)
class Batching:
    """Tokens per chunk of a streamed response.

    Attributes:
        min_size: Tokens in the first chunk, >= 1.
        max_size: Maximum number of tokens in one chunk, >= 1.
        growth_factor: Ratio of the sizes of two consecutive chunks, >= 1.
    """

    min_size: int
    max_size: int
    growth_factor: float


@dataclass(frozen=True, slots=True)
class BestOf:
    """`best_of`: vLLM generates more sequences than the worker returns.

    Attributes:
        keep: Sequences to return per prompt, the request's `n`.
        generated: Sequences generated per prompt, >= `keep`.
        ranked: True if vLLM already returns the best first (beam search).
        drop_logprobs: True if the client did not request the log-probabilities.
        echoed: True if each sequence starts with the prompt; its tokens are not scored.
    """

    keep: int
    generated: int
    ranked: bool = False
    drop_logprobs: bool = True
    echoed: bool = False


@dataclass(frozen=True, slots=True)
class Upload:
    """A file for a route that takes a multipart form instead of JSON.

    Attributes:
        field: Name of the form field.
        filename: Name from which vLLM derives the format.
        content: The file.
        content_type: MIME type.
    """

    field: str
    filename: str
    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One HTTP request to vLLM, and the shape of the response to the caller.

    Attributes:
        method: HTTP method.
        path: Route with its query string, e.g. `/v1/chat/completions`; plain, no escapes.
        body: JSON body; None for GET.
        stream: True if the response is a stream of server-sent events.
        shape: `openai` passes vLLM's response on; `native` converts it.
        batching: Chunks of a streamed response.
        prompts: Prompts of a native request; 1 for other shapes.
        choices: Sequences in a native response, for all prompts; 1 for other shapes.
        best_of: Which sequences to keep; None keeps all.
        upload: File that vLLM takes as a form upload; the body is then its other form fields.
        drop_reasoning: True removes the reasoning from a native response.
        limit_warning: Warning for a native response that the default limit ends; None without it.
        ignored: Names of parameters that have no effect.
        custom_id: Identifier of a line of OpenAI's batch format; None for other jobs.
        headers: Headers that the job's input stands for: its trace context.
    """

    method: Method
    path: str
    body: dict[str, Any] | None
    stream: bool
    shape: Shape
    batching: Batching
    prompts: int = 1
    choices: int = 1
    best_of: BestOf | None = None
    upload: Upload | None = None
    drop_reasoning: bool = False
    limit_warning: str | None = None
    ignored: tuple[str, ...] = ()
    custom_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def stream_path(self) -> str | None:
        """The route whose events the client reads; None without a stream and for a native one."""
        return self.path if self.stream and self.shape == "openai" else None
