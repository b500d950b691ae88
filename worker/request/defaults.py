"""Values for parameters that a request leaves out."""

from __future__ import annotations

from dataclasses import dataclass

from worker.request.codes import Code, request_error
from worker.request.engine_request import Batching
from worker.request.job_input import BatchingInput


@dataclass(frozen=True, slots=True)
class RequestDefaults:
    """Values from the settings that complete a request.

    Attributes:
        model: Name under which the model is served.
        batching: Chunks of a streamed response.
        max_tokens: Output tokens of a native request without a limit.
        open_control_routes: True lets jobs call routes that control or inspect the server.
        reject_unknown: True rejects parameters that would be ignored.
        max_grammar_bytes: Largest structured-output constraints of a request.
    """

    model: str
    batching: Batching
    max_tokens: int
    open_control_routes: bool = False
    reject_unknown: bool = False
    max_grammar_bytes: int = 65_536


def choose_batching(request: BatchingInput, defaults: RequestDefaults) -> Batching:
    """Return the request's batching, completed by the defaults; 0 means the default.

    Raises:
        RequestError: A growth factor between 0 and 1, which would shrink the chunks.
    """
    known = defaults.batching
    factor = request.batch_size_growth_factor or known.growth_factor
    if factor < 1:
        raise request_error(
            Code.INVALID_PARAMETER,
            f"batch_size_growth_factor: expected at least 1, got {factor}",
            "batch_size_growth_factor",
        )
    return Batching(
        min_size=request.min_batch_size or known.min_size,
        max_size=request.max_batch_size or known.max_size,
        growth_factor=factor,
    )
