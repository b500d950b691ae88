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

import pytest
import pytest_asyncio

from tests.e2e.support.deployment import Api, connect, deploy, make_environ
from tests.e2e.support.tiny_whisper import CONTEXT, build_tiny_whisper

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUTE = "/v1/audio/transcriptions"
RATE = 16_000


def record(seconds: float) -> str:
    """Return a tone as a WAV file in base64."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        samples = (int(9000 * math.sin(n / 9)) for n in range(int(RATE * seconds)))
        writer.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return base64.b64encode(file.getvalue()).decode()


TONE = record(1.5)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def speech(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    model = build_tiny_whisper(tmp_path_factory.mktemp("models") / "tiny-whisper")
    environ = make_environ(model, MAX_MODEL_LEN=str(CONTEXT))
    async with deploy(environ, []) as running, connect(running) as connected:
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
