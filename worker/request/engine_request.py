"""What a job asks of vLLM's HTTP server, and what its reply needs to know of the question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

MAX_BODY_BYTES = 30_000_000
"""Largest body of a request and of an answer: RunPod's load balancer takes no more, in either
direction, and its queue takes less."""

Method = Literal["GET", "POST"]
Shape = Literal["openai", "native"]


@dataclass(frozen=True, slots=True)
class Batching:
    """How many tokens travel together in a streamed answer.

    Attributes:
        min_size: Tokens in the first piece, >= 1.
        max_size: Most tokens in one piece, >= 1.
        growth_factor: Each piece may be so many times larger than the one before, >= 1.
    """

    min_size: int
    max_size: int
    growth_factor: float


@dataclass(frozen=True, slots=True)
class BestOf:
    """`best_of`: more sequences are generated than are returned.

    Attributes:
        keep: Sequences to return per prompt, the request's `n`.
        best_of: Sequences generated per prompt, >= `keep`.
        ranked: True if vLLM's order is already best first (beam search).
        drop_logprobs: True if log-probabilities were requested only to choose.
        echoed: True if each sequence starts with the prompt, whose tokens do not count.
    """

    keep: int
    best_of: int
    ranked: bool = False
    drop_logprobs: bool = True
    echoed: bool = False


@dataclass(frozen=True, slots=True)
class Upload:
    """A file for a route that takes a form, not JSON.

    Attributes:
        field: Name of the form field.
        filename: Name by which vLLM recognises the format.
        content: The file.
        content_type: MIME type.
    """

    field: str
    filename: str
    content: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to vLLM, and the shape in which its answer goes back.

    Attributes:
        method: HTTP method.
        path: Route with its query string, e.g. `/v1/chat/completions`; plain, no escapes.
        body: JSON body; None for GET.
        stream: True if the answer is a stream of server-sent events.
        shape: `openai` passes vLLM's answer on; `native` translates it.
        batching: Pieces of a streamed answer.
        prompts: Prompts of a native request; 1 for other shapes.
        choices: Sequences in a native answer, all prompts together; 1 for other shapes.
        selection: What to keep of the answer; None keeps all of it.
        upload: File that vLLM takes as a form upload, with the body as its other form fields.
        drop_reasoning: True leaves the thoughts out of a native answer, though vLLM returns them.
        note: Remark for a native answer that was cut at a default limit; None if none applies.
        ignored: Names that the client sent and that have no effect.
    """

    method: Method
    path: str
    body: dict[str, Any] | None
    stream: bool
    shape: Shape
    batching: Batching
    prompts: int = 1
    choices: int = 1
    selection: BestOf | None = None
    upload: Upload | None = None
    drop_reasoning: bool = False
    note: str | None = None
    ignored: tuple[str, ...] = ()
