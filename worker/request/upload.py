"""Form uploads: converts a JSON job with audio to one, and reads the names of a form's fields."""

from __future__ import annotations

import base64
import binascii
import mimetypes
import re
from collections.abc import Mapping
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from worker.request.codes import Code, request_error
from worker.request.engine_request import Upload
from worker.request.json_value import json_type_name

FORM_ROUTES = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})
"""vLLM's routes that take a form instead of JSON."""

FILE = "file"
FILENAME = "filename"
"""Field of the job's body, next to `file`, that names the file; vLLM itself does not see it."""

MAX_FIELDS = 1000
"""Fields of a form; vLLM's server refuses more."""

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,")
_DEFAULT_NAME = "audio.wav"


def split_upload(body: Mapping[str, Any]) -> tuple[dict[str, Any], Upload]:
    """Split the body of a form route into form fields and the file.

    Args:
        body: The job's body; `file` is base64 text or a `data:` URL, `filename` is optional.

    Returns:
        Form fields as texts (lists stay lists of texts), and the file.

    Raises:
        RequestError: No file, not base64, or a field that a form cannot carry.
    """
    text = body.get(FILE)
    if not isinstance(text, str) or not text:
        raise request_error(
            Code.MISSING_PARAMETER if text in (None, "") else Code.INVALID_PARAMETER,
            f"{FILE}: expected the audio as base64 text or as a data: URL, "
            f"got {json_type_name(text)}",
            FILE,
        )
    match = _DATA_URL.match(text)
    try:
        content = base64.b64decode(text[match.end() :] if match else text, validate=True)
    except binascii.Error:
        raise request_error(
            Code.INVALID_PARAMETER, f"{FILE}: the text is not valid base64", FILE
        ) from None
    name = body.get(FILENAME)
    filename, content_type = _name(name, match.group(1) if match else None)
    fields = {
        _form_name(key, value): _form_value(key, value)
        for key, value in body.items()
        if value is not None
    }
    fields.pop(FILE)
    fields.pop(FILENAME, None)
    return fields, Upload(FILE, filename, content, content_type)


def _name(name: object, content_type: str | None) -> tuple[str, str]:
    """Return file name and MIME type, each from the other where one is missing."""
    if name is not None and (not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,200}", name)):
        raise request_error(
            Code.INVALID_PARAMETER, f"{FILENAME}: expected a plain file name, e.g. a.mp3", FILENAME
        )
    if isinstance(name, str):
        return name, content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if content_type is None:
        return _DEFAULT_NAME, "audio/wav"
    return "audio" + (mimetypes.guess_extension(content_type) or ".wav"), content_type


def _form_name(key: str, value: Any) -> str:
    """Return a field's name in the form, where lists end in brackets."""
    return f"{key}[]" if isinstance(value, list) and not key.endswith("[]") else key


def _form_value(key: str, value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return [_form_value(key, item) for item in value]
    raise request_error(
        Code.INVALID_PARAMETER, f"{key}: a form cannot hold {json_type_name(value)}", key
    )


def read_field_names(content_type: str, body: bytes) -> list[str]:
    """Return the names of a multipart form's fields; empty if the form cannot be parsed.

    Args:
        content_type: Header of the request, with the form's boundary.
        body: The form.
    """
    names: list[str] = []
    header: list[bytes] = [b"", b""]

    def begin_part() -> None:
        if len(names) == MAX_FIELDS:
            raise FormParserError(f"more than {MAX_FIELDS} fields")

    def add_name(data: bytes, start: int, end: int) -> None:
        header[0] += data[start:end]

    def add_value(data: bytes, start: int, end: int) -> None:
        header[1] += data[start:end]

    def end_header() -> None:
        name, value = header
        header[:] = b"", b""
        if name.lower() == b"content-disposition":
            name = parse_options_header(value)[1].get(b"name", b"")
            names.append(name.decode(errors="replace"))

    # Headers are decoded with `surrogateescape`, and the parser expects bytes or Latin-1.
    options = parse_options_header(content_type.encode(errors="surrogateescape"))[1]
    boundary = options.get(b"boundary", b"")
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": begin_part,
                "on_header_field": add_name,
                "on_header_value": add_value,
                "on_header_end": end_header,
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        return []
    return names
