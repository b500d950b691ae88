"""Speech to text: audio in a JSON job reaches vLLM as the form upload that it wants."""

from __future__ import annotations

import base64
import io
import json
import math
import struct
import wave
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.e2e.support.deployment import MODEL, Api, connect, deploy, make_environ
from tests.e2e.support.http_worker import serve_http_with
from tests.e2e.support.tiny_whisper import CONTEXT, build_tiny_whisper
from worker.request.engine_request import MAX_BODY_BYTES
from worker.request.openai import known_fields
from worker.request.parameters import IGNORED_HEADER
from worker.request.upload import FILE, FORM_ROUTES
from worker_tools.dev import LocalDeployment

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUTE = "/v1/audio/transcriptions"
RATE = 16_000


def record(seconds: float) -> bytes:
    """Return a tone as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        samples = (int(9000 * math.sin(n / 9)) for n in range(int(RATE * seconds)))
        writer.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


SOUND = record(1.5)
TONE = base64.b64encode(SOUND).decode()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def listening(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalDeployment]:
    model = build_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny-whisper")
    async with deploy(make_environ(model, MAX_MODEL_LEN=str(CONTEXT)), []) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def speech(listening: LocalDeployment) -> AsyncIterator[Api]:
    async with connect(listening) as connected:
        yield connected


async def transcribe(speech: Api, **fields: Any) -> Any:
    # A random model cannot tell a language.
    body = {"file": TONE, "language": "en", **fields}
    return await speech.runsync({"openai_route": ROUTE, "openai_input": body})


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="base64"),
        pytest.param({"file": f"data:audio/wav;base64,{TONE}"}, id="data URL"),
        pytest.param({"filename": "speech.wav", "temperature": 0.5, "seed": 1}, id="more fields"),
    ],
)
async def test_audio_is_transcribed(speech: Api, fields: dict[str, Any]) -> None:
    job = await transcribe(speech, **fields)
    assert job["status"] == "COMPLETED", job
    assert isinstance(job["output"][0]["text"], str)
    assert job["output"][0]["usage"] == {"type": "duration", "seconds": 2}


async def test_audio_is_translated(speech: Api) -> None:
    body = {"file": TONE, "language": "de"}
    job = await speech.runsync({"route": "/v1/audio/translations", "body": body})
    assert isinstance(job["output"][0]["text"], str)


async def test_transcript_is_streamed(speech: Api) -> None:
    job = await transcribe(speech, stream=True)
    assert job["status"] == "COMPLETED", job
    assert "".join(job["output"]).endswith("data: [DONE]\n\n")


async def test_audio_that_is_none_is_refused(speech: Api) -> None:
    for _ in range(3):
        job = await transcribe(speech, file="AAAA")
        error = json.loads(job["error"])["error"]
        assert (error["code"], error["status"]) == ("invalid_request", 400), error
        assert "audio" in error["message"]


async def test_failure_of_vllm_does_not_touch_the_next_job(speech: Api) -> None:
    # Without a language vLLM asks the model, whose random answer makes it fail.
    for _ in range(3):
        failed = await transcribe(speech, language=None)
        assert json.loads(failed["error"])["error"]["code"] == "engine_error"
        assert (await transcribe(speech))["status"] == "COMPLETED"


FIELDS = {
    "frequency_penalty": "0.5",
    "hotwords": "Straße",
    "include_stop_str_in_output": "true",
    "language": "en",
    "length_penalty": "1.5",
    "max_completion_tokens": "3",
    "min_p": "0.1",
    "model": MODEL,
    "n": "1",
    "presence_penalty": "0.5",
    "prompt": "A short talk.",
    "repetition_penalty": "1.1",
    "response_format": "json",
    "seed": "1",
    "stream": "true",
    "stream_continuous_usage_stats": "true",
    "stream_include_usage": "true",
    "temperature": "0.5",
    "timestamp_granularities[]": "segment",
    "to_language": "en",
    "top_k": "5",
    "top_p": "0.9",
    "use_beam_search": "false",
    "vllm_xargs": '{"a": 1}',
    "watermarking": "false",
}
"""A value for each form field besides the file."""


class Upload:
    """Posts forms to the worker as the official client does."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def post(
        self, route: str, fields: dict[str, str], file: bytes | None = SOUND
    ) -> tuple[int, str, str | None]:
        """Return the status, the body and the names of the ignored fields."""
        form = aiohttp.FormData(
            {"language": "en", "max_completion_tokens": "3", **fields}, default_to_multipart=True
        )
        if file is not None:
            part = io.BytesIO(file)
            form.add_field(FILE, part, filename="a.wav", content_type="audio/wav")
        async with self._session.post(self._url + route, data=form) as response:
            return response.status, await response.text(), response.headers.get(IGNORED_HEADER)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def upload(listening: LocalDeployment) -> AsyncIterator[Upload]:
    async with aiohttp.ClientSession() as session, serve_http_with(listening) as url:
        yield Upload(session, url)


@pytest.mark.parametrize(
    ("route", "name"),
    [
        (route, name)
        for route in sorted(FORM_ROUTES)
        for name in sorted(known_fields()[route].known - {FILE})
    ],
)
async def test_form_field_is_taken(upload: Upload, route: str, name: str) -> None:
    stream = {"stream": "true"} if name.startswith("stream") else {}
    status, body, ignored = await upload.post(route, {**stream, name: FIELDS[name]})
    assert (status, ignored) == (200, None), body
    if stream:
        assert body.endswith("data: [DONE]\n\n")
    else:
        assert isinstance(json.loads(body)["text"], str)


@pytest.mark.parametrize("route", sorted(FORM_ROUTES))
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("langauge", "language"),
        ("temprature", "temperature"),
        ("repeat_penalty", "repetition_penalty"),
    ],
)
async def test_misspelt_form_field_is_refused_with_the_right_name(
    upload: Upload, route: str, name: str, meant: str
) -> None:
    status, body, _ignored = await upload.post(route, {name: "1"})
    error = json.loads(body)["error"]
    assert (status, error["code"], error["param"]) == (400, "unknown_parameter", name)
    assert meant in error["message"]


@pytest.mark.parametrize("route", sorted(FORM_ROUTES))
@pytest.mark.parametrize(
    ("file", "status", "named"),
    [
        pytest.param(bytes(MAX_BODY_BYTES), 413, str(MAX_BODY_BYTES), id="too large"),
        pytest.param(None, 400, "file", id="missing"),
        pytest.param(b"no sound", 400, "audio", id="no audio"),
    ],
)
async def test_bad_upload_is_refused(
    upload: Upload, route: str, file: bytes | None, status: int, named: str
) -> None:
    answered, body, _ignored = await upload.post(route, {}, file)
    error = json.loads(body)["error"]
    assert (answered, error["code"]) == (status, "invalid_request"), error
    assert error.keys() >= {"message", "type", "param", "code"}
    assert named in error["message"]
