"""RunPod's own package, on the native API: `RunPod` and `ChatRunPod`, plain, streamed, errors."""

from __future__ import annotations

import pytest
from conftest import ANSWER, QUESTION
from langchain_runpod import ChatRunPod, RunPod


@pytest.fixture
def options(endpoint):
    base, _, name = endpoint.url.rpartition("/")
    return {
        "endpoint_id": name,
        "api_base": base,
        "api_key": "local",
        "temperature": 0,
        "max_tokens": 20,
        "poll_interval": 0.05,
    }


def test_text_is_continued(options):
    llm = RunPod(**options, top_p=1.0, top_k=-1, stop=["\n\n"])
    assert ANSWER in llm.invoke("The capital of France is")


def test_text_is_streamed(options):
    chunks = list(RunPod(**options).stream("The capital of France is"))
    assert ANSWER in "".join(chunks)


def test_stop_ends_the_text(options):
    text = RunPod(**options).invoke("The capital of France is", stop=[ANSWER])
    assert ANSWER not in text


def test_chat_is_answered(options):
    assert ANSWER in ChatRunPod(**options).invoke(QUESTION).content


def test_refusal_names_its_reason(options):
    with pytest.raises(Exception, match="invalid_parameter"):
        RunPod(**{**options, "temperature": -1}).invoke("The capital of France is")
