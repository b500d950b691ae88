"""Explain why vLLM did not start, in one sentence with a remedy."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

from worker.errors import shorten

WRAPPER_MESSAGES = ("Engine core initialization failed", "Frontend process failed during")
"""Prefixes of messages that only report the failure of another process, which logs the cause."""

EXCEPTION_LINE = re.compile(
    r"(?:^|\] |\s)((?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Interrupt)): (.+)$"
)
"""The last line of a traceback, with or without the prefix that vLLM gives each line."""

PYDANTIC_HEADING = re.compile(r"\A\d+ validation errors? for ")
PYDANTIC_INPUT = "[type="
"""Starts the last part of a pydantic error, which repeats the whole input as a Python repr."""

REMEDIES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"gated repo|GatedRepoError|awaiting a review|Access to model .{1,300} is restricted"
        ),
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
        "The model was not found: check MODEL_NAME (an id like org/name, or a folder that exists "
        "in this container), and HF_TOKEN if the model is private",
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
        re.compile(r"Failed to infer device type"),
        "vLLM finds no GPU that it is built for: run this on one, or with vLLM's CPU build, "
        "`pip install 'runpod-vllm-worker[cpu]'`",
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        "The disk is full: give the endpoint a larger container disk or network volume",
    ),
    (
        re.compile(r"Read-only file system|\[Errno 13\] Permission denied"),
        "vLLM cannot write where it keeps models or caches: set BASE_PATH to a folder that can be "
        "written to",
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
        re.compile(r"proc\(s\): \{[^}]{1,1000}: -9\b|ended with SIGKILL"),
        "The system killed vLLM, most often because the container has too little memory (RAM): "
        "choose a machine with more, or a smaller model",
    ),
    (
        re.compile(
            r"SafetensorError|header too large|invalid load key|MetadataIncompleteBuffer"
            # A file that is something else: its first bytes, read as a length, are too many.
            r"|in parse_safetensors_file_metadata"
        ),
        "A weight file is damaged: delete it from the cache, and the next start downloads it again",
    ),
    (
        re.compile(
            r"is not a valid JSON file|JSONDecodeError"
            # Messages of Python's JSON parser, where another exception repeats them.
            r"|Unterminated string starting at|Expecting value: line|Extra data: line"
            r"|Expecting property name enclosed|Expecting ',' delimiter"
        ),
        "One of the model's JSON files, or the head of a weight file, is damaged: delete it from "
        "the cache to download it again",
    ),
    (
        re.compile(r"Cannot find any model weights"),
        "The model's folder has no weights: add them, or set LOAD_FORMAT to their format",
    ),
    (
        re.compile(r"weights were not initialized from checkpoint|exceeds dimension size"),
        "The weights do not match config.json: the model's files are incomplete or of different "
        "versions; delete them from the cache to download them again",
    ),
    (
        re.compile(r"contains custom code which must be executed"),
        "The model contains custom code: set TRUST_REMOTE_CODE=true if you trust "
        "wrote it, or choose another model",
    ),
    (
        re.compile(r"are not supported for now|does not recognize this architecture"),
        "This version of vLLM does not know the model's architecture: choose an image with a "
        "newer one, or another model",
    ),
    (
        re.compile(r"greater than the derived max_model_len"),
        "The model does not support a context of this length: lower MAX_MODEL_LEN, or unset it",
    ),
    (
        re.compile(r"on kv cache allocation is less than requested"),
        "The machine has less memory (RAM) than requested: lower VLLM_CPU_KVCACHE_SPACE",
    ),
    (
        re.compile(r"Cannot find the config file for|Quantization method specified in the model"),
        "The model was not quantized that way: unset QUANTIZATION, vLLM reads it from the model",
    ),
    (
        re.compile(r"attention heads \(\d+\) must be divisible by tensor parallel size"),
        "The model cannot be divided among that many GPUs: lower TENSOR_PARALLEL_SIZE",
    ),
    (
        re.compile(r"Loading lora .{1,300} failed|No adapter found for"),
        "A LoRA adapter cannot be loaded: check its path in LORA_MODULES",
    ),
)
"""Patterns in vLLM's output, most specific first, with the remedy for each."""


CAUSE_LIMIT = 400
"""Characters of vLLM's message that are repeated; it may list all supported models."""


def explain_startup_failure(
    reported: tuple[str, str] | None, output: Iterable[str], exit_status: int
) -> str:
    """Explain a failed start.

    Args:
        reported: Type and message of the exception in the API server, if it reported one.
        output: The last lines that vLLM printed.
        exit_status: The process's exit status; negative is the signal that ended it.

    Returns:
        One or two sentences without a full stop at the end.
    """
    lines = list(output)
    cause = shorten(_cause(reported, lines, exit_status), CAUSE_LIMIT)
    # Search the rest of the output last: it may hold errors that vLLM recovered from.
    for searched in (cause, "\n".join(lines)):
        for pattern, remedy in REMEDIES:
            if pattern.search(searched):
                return f"{remedy}. vLLM said: {cause}"
    return f"vLLM did not start: {cause}"


def describe_exit(status: int) -> str:
    """Describe an exit status; a negative one is the signal that ended the process."""
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # Most real-time signals have no name.
        return f"signal {-status}"


def _cause(reported: tuple[str, str] | None, lines: list[str], exit_status: int) -> str:
    wrapper = None
    if reported is not None and reported[0] != "SystemExit":
        message = f"{reported[0]}: {_summarize(reported[1])}"
        if not reported[1].startswith(WRAPPER_MESSAGES):
            return message
        wrapper = message
    found = [match for line in lines if (match := EXCEPTION_LINE.search(line))]
    for match in found:
        if not match[2].startswith(WRAPPER_MESSAGES):
            return f"{match[1]}: {match[2]}"
    if refused := [line for line in lines if ": error: " in line]:
        return refused[-1].split(": error: ", 1)[1]
    return wrapper or f"the process ended with {describe_exit(exit_status)}"


def _summarize(text: str) -> str:
    """Return the first line of a message; of a pydantic error, the first problem with its field."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return "no message"
    if PYDANTIC_HEADING.match(lines[0]) and any(line.startswith(" ") for line in lines):
        # A problem is indented; the line above it is its field, unless it concerns all fields.
        place = next(n for n, line in enumerate(lines) if line.startswith(" "))
        field, finding = ("" if place == 1 else lines[place - 1]), lines[place]
        finding = finding.partition(PYDANTIC_INPUT)[0].strip().removeprefix("Value error, ")
        return f"{field}: {finding}" if field else finding
    return lines[0].strip()
