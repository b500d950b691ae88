"""The file of requests: every line is checked before anything is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from worker.errors import RequestError, WorkerError
from worker.request import Batching, RequestDefaults, parse_job
from worker.request.job_input import BatchLineInput
from worker.request.routes import CHAT, COMPLETIONS, RESPONSES
from worker.request.trace_context import FORMS

BOM = b"\xef\xbb\xbf"
MEMBERS = frozenset(BatchLineInput.model_fields)
ALLOWED = MEMBERS | FORMS.keys()
"""Members of a line; a trace context is allowed in addition to those of the format."""

REQUIRED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    CHAT: (("messages",),),
    COMPLETIONS: (("prompt", "prompt_embeds"),),
    RESPONSES: (("input",),),
    "/v1/embeddings": (("input", "messages"),),
    "/v1/rerank": (("query",), ("documents",)),
}
"""What a body needs, by route: one of each group. vLLM checks the rest."""

DEFAULTS = RequestDefaults(model="", batching=Batching(1, 1, 1.0), max_tokens=1)
"""The worker has its own; none of them decides whether a line is valid."""


@dataclass(frozen=True, slots=True)
class Line:
    """One request of the file.

    Attributes:
        number: Line number, from 1.
        custom_id: Its identifier, unique in the file.
        offset: Position of its JSON in the file, bytes.
        size: Length of its JSON, bytes.
    """

    number: int
    custom_id: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class InputFile:
    """A checked file.

    Attributes:
        path: Where it is.
        sha256: Checksum of its bytes.
        lines: Its requests in order, without empty lines.
    """

    path: Path
    sha256: str
    lines: tuple[Line, ...]

    def read(self, lines: tuple[Line, ...]) -> Iterator[bytes]:
        """Yield the JSON of some lines."""
        with self.path.open("rb") as file:
            for line in lines:
                file.seek(line.offset)
                yield file.read(line.size)


@dataclass(frozen=True, slots=True)
class LineProblem:
    """What is wrong with a line; without its content."""

    number: int
    message: str

    def __str__(self) -> str:
        return f"line {self.number}: {self.message}"


class InvalidFileError(WorkerError):
    """The file cannot be sent; has all problems."""

    def __init__(self, path: Path, problems: list[LineProblem]) -> None:
        self.problems = problems
        noun = "problem" if len(problems) == 1 else "problems"
        super().__init__(f"{path}: {len(problems)} {noun}; nothing was sent")


def read_input_file(path: Path, max_line_bytes: int) -> InputFile:
    """Read and check a file.

    Args:
        path: The file.
        max_line_bytes: Largest request that RunPod takes.

    Raises:
        InvalidFileError: A line is not a valid request; all such lines are named.
        OSError: The file cannot be read.
    """
    lines: list[Line] = []
    problems: list[LineProblem] = []
    seen: dict[str, int] = {}
    checksum = hashlib.sha256()
    offset = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            checksum.update(raw)
            start = len(BOM) if number == 1 and raw.startswith(BOM) else 0
            text = raw[start:].strip()
            position = offset + raw.index(text, start)
            offset += len(raw)
            if not text:
                continue
            try:
                custom_id = check_line(text, max_line_bytes)
            except RequestError as error:
                problems.append(LineProblem(number, error.message))
                continue
            if custom_id in seen:
                problems.append(
                    LineProblem(number, f"custom_id: line {seen[custom_id]} has the same")
                )
                continue
            seen[custom_id] = number
            lines.append(Line(number, custom_id, position, len(text)))
    if not lines and not problems:
        problems.append(LineProblem(1, "the file has no requests"))
    if problems:
        raise InvalidFileError(path, problems)
    return InputFile(path, checksum.hexdigest(), tuple(lines))


def check_line(text: bytes, max_bytes: int) -> str:
    """Return the `custom_id` of a line.

    Raises:
        RequestError: The line is not a valid request.
    """
    if len(text) > max_bytes:
        raise RequestError(f"{len(text)} bytes; RunPod takes {max_bytes} in one request", "")
    try:
        line = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"not valid JSON: {error}", "") from None
    if not isinstance(line, dict):
        raise RequestError("not a JSON object", "")
    missing = [name for name in ("custom_id", "url", "body") if line.get(name) is None]
    if missing:
        raise RequestError(f"{' and '.join(missing)}: missing", "")
    unknown = sorted(line.keys() - ALLOWED)
    if unknown:
        raise RequestError(f"{unknown[0][:80]}: unknown; a line has {', '.join(MEMBERS)}", "")
    call = parse_job(line, DEFAULTS)
    if call.method != "POST":
        raise RequestError(f"url: a batch takes POST requests, not {call.method}", "")
    body = call.body or {}
    for names in REQUIRED.get(call.path, ()):
        if all(body.get(name) is None for name in names):
            raise RequestError(f"{' or '.join(names)}: missing in the body", "")
    return str(call.custom_id)
