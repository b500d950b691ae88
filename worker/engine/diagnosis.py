"""Why vLLM did not start, in one sentence, with what to change."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

RETOLD = ("Engine core initialization failed", "Failed core proc")
"""Starts of messages that only say that another process failed; the cause stands in its output."""

EXCEPTION_LINE = re.compile(
    r"(?:^|\] |\s)((?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Interrupt)): (.+)$"
)
"""The last line of a traceback, with or without the prefix that vLLM gives each line."""

REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"gated repo|GatedRepoError|awaiting a review|Access to model .* is restricted"),
        "The model is gated: accept its licence on its page and set HF_TOKEN to a token of that "
        "account",
    ),
    (
        re.compile(r"401 Client Error|Invalid (user )?token|Unauthorized"),
        "The model hub refused the token: set HF_TOKEN to a valid one",
    ),
    (
        re.compile(
            r"is not a local folder and is not a valid model identifier|RepositoryNotFoundError"
            r"|404 Client Error|Repo(sitory)? id must|HFValidationError"
            r"|Invalid repository ID or local directory"
        ),
        "There is no such model: check MODEL_NAME (an id like org/name, or a folder that exists in "
        "this container), and HF_TOKEN if the model is private",
    ),
    (
        re.compile(
            r"LocalEntryNotFoundError|couldn't connect to|MaxRetryError|Name or service not known"
            r"|Temporary failure in name resolution|Can't load the configuration of"
            r"|outgoing traffic has been disabled|OfflineModeIsEnabled|ConnectError"
        ),
        "The model is not on disk and the model hub cannot be reached: check MODEL_NAME, the "
        "network, or bake the model into the image",
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        "The disk is full: give the endpoint a larger container disk or network volume",
    ),
    (
        re.compile(r"CUDA out of memory|OutOfMemoryError"),
        "The GPU's memory is too small: choose a larger GPU, more GPUs, a quantized model, or a "
        "lower MAX_MODEL_LEN or MAX_NUM_SEQS",
    ),
    (
        re.compile(r"larger than the available KV cache memory|No available memory for the cache"),
        "Too little memory is left for the KV cache: lower MAX_MODEL_LEN, raise "
        "GPU_MEMORY_UTILIZATION, or choose a larger GPU",
    ),
    (
        re.compile(r"Free memory on device"),
        "Another process holds GPU memory: lower GPU_MEMORY_UTILIZATION or free the GPU",
    ),
    (
        re.compile(r"SafetensorError|header too large|invalid load key|MetadataIncompleteBuffer"),
        "A weight file is damaged: delete it from the cache, so that it is downloaded again",
    ),
)
"""Patterns in vLLM's own words, most specific first, and what the user can do about each."""


def diagnose(reported: tuple[str, str] | None, output: Iterable[str], exit_status: int) -> str:
    """Explain a failed start.

    Args:
        reported: Type and message of the exception in the API server, if it told us.
        output: The last lines that vLLM printed.
        exit_status: The process's exit status; negative is the signal that ended it.

    Returns:
        One or two sentences without a full stop at the end.
    """
    lines = list(output)
    cause = _cause(reported, lines, exit_status)
    searched = "\n".join([cause, *lines])
    for pattern, remedy in REMEDIES:
        if pattern.search(searched):
            return f"{remedy}. vLLM said: {cause}"
    return f"vLLM did not start: {cause}"


def describe_exit(status: int) -> str:
    """Return an exit status in words; a negative one is the signal that ended the process."""
    return signal.Signals(-status).name if status < 0 else f"status {status}"


def _cause(reported: tuple[str, str] | None, lines: list[str], exit_status: int) -> str:
    if reported is not None and not reported[1].startswith(RETOLD) and reported[0] != "SystemExit":
        return f"{reported[0]}: {_first_line(reported[1])}"
    found = [match for line in lines if (match := EXCEPTION_LINE.search(line))]
    for match in found:
        if not match[2].startswith(RETOLD):
            return f"{match[1]}: {match[2]}"
    if refused := [line for line in lines if ": error: " in line]:
        return refused[-1].split(": error: ", 1)[1]
    return f"the process ended with {describe_exit(exit_status)}"


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no message"
