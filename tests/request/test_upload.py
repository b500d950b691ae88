import base64

import pytest

from worker.errors import RequestError
from worker.request import Batching, RequestDefaults, Upload, parse_job

DEFAULTS = RequestDefaults(model="whisper", batching=Batching(1, 50, 3.0), max_tokens=16)
ROUTE = "/v1/audio/transcriptions"
SOUND = b"RIFF\x00\xff"
TEXT = base64.b64encode(SOUND).decode()


@pytest.mark.parametrize(
    ("body", "upload"),
    [
        ({"file": TEXT}, Upload("file", "audio.wav", SOUND, "audio/wav")),
        (
            {"file": f"data:audio/mpeg;base64,{TEXT}"},
            Upload("file", "audio.mp3", SOUND, "audio/mpeg"),
        ),
        ({"file": TEXT, "filename": "a.mp3"}, Upload("file", "a.mp3", SOUND, "audio/mpeg")),
        (
            {"file": f"data:audio/ogg;codecs=opus;base64,{TEXT}", "filename": "a.bin"},
            Upload("file", "a.bin", SOUND, "audio/ogg"),
        ),
    ],
)
def test_audio_job_becomes_form_upload(body, upload):
    call = parse_job({"route": ROUTE, "body": body}, DEFAULTS)

    assert call.upload == upload
    assert call.body == {"model": "whisper"}


def test_audio_job_fields_become_form_texts():
    body = {
        "file": TEXT,
        "model": "a",
        "language": "de",
        "temperature": 0.5,
        "stream": True,
        "prompt": None,
        "timestamp_granularities": ["word", "segment"],
    }

    call = parse_job({"openai_route": ROUTE, "openai_input": body}, DEFAULTS)

    assert call.stream
    assert call.body == {
        "model": "a",
        "language": "de",
        "temperature": "0.5",
        "stream": "true",
        "timestamp_granularities[]": ["word", "segment"],
    }


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_parameter", "file"),
        ({"file": ""}, "missing_parameter", "file"),
        ({"file": 5}, "invalid_parameter", "file"),
        ({"file": "not base64!"}, "invalid_parameter", "file"),
        ({"file": TEXT, "filename": "../etc/passwd"}, "invalid_parameter", "filename"),
        ({"file": TEXT, "filename": "a\r\nb"}, "invalid_parameter", "filename"),
        ({"file": TEXT, "vllm_xargs": {"a": {}}}, "invalid_parameter", "vllm_xargs"),
    ],
)
def test_audio_job_bad_field_is_refused(body, code, param):
    with pytest.raises(RequestError) as caught:
        parse_job({"route": ROUTE, "body": body}, DEFAULTS)

    assert (caught.value.code, caught.value.param) == (code, param)
