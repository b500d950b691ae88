"""Addresses and keys, the first request, and what is said if an endpoint cannot be used."""

import pytest

from tests.support.ports import free_port
from worker.errors import ExitCode, WorkerError
from worker_tools.tune.target import ask_models, find_model, find_target, try_request

RUNPOD = {"RUNPOD_API_KEY": "rp-secret", "OPENAI_API_KEY": "sk-secret"}


@pytest.mark.parametrize(
    ("url", "base", "queue", "key"),
    [
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000", None, "sk-secret"),
        ("https://host.example/v1", "https://host.example", None, "sk-secret"),
        ("https://host.example/a/v1/", "https://host.example/a", None, "sk-secret"),
        ("https://abc.api.runpod.ai", "https://abc.api.runpod.ai", None, "rp-secret"),
        (
            "abc123",
            "https://api.runpod.ai/v2/abc123/openai",
            "https://api.runpod.ai/v2/abc123",
            "rp-secret",
        ),
        (
            "https://api.runpod.ai/v2/abc123/openai/v1",
            "https://api.runpod.ai/v2/abc123/openai",
            "https://api.runpod.ai/v2/abc123",
            "rp-secret",
        ),
        (
            "http://127.0.0.1:8000/v2/local",
            "http://127.0.0.1:8000/v2/local/openai",
            "http://127.0.0.1:8000/v2/local",
            "sk-secret",
        ),
    ],
)
def test_address_and_key(url, base, queue, key):
    target = find_target(RUNPOD, url)
    assert (target.base_url, target.queue_url, target.key) == (base, queue, key)


@pytest.mark.parametrize(
    ("environ", "url", "said"),
    [
        ({}, "abc123", "RUNPOD_API_KEY is not set"),
        (RUNPOD, "http://host.example", "host.example is not encrypted"),
        ({"OPENAI_API_KEY": "a b"}, "http://127.0.0.1:1", "characters that a key cannot contain"),
        ({}, "ftp://host", "expected the id of a RunPod endpoint"),
        ({}, "https://user:word@host", "expected the id of a RunPod endpoint"),
    ],
)
def test_address_or_key_that_cannot_be_used(environ, url, said):
    with pytest.raises(WorkerError, match=said) as caught:
        find_target(environ, url)
    assert caught.value.exit_code == ExitCode.CONFIGURATION
    assert "secret" not in str(caught.value)


def test_key_of_runpod_goes_to_no_other_host():
    key = find_target({"RUNPOD_API_KEY": "rp-secret"}, "https://runpod.ai.example").key
    assert key is None


async def test_first_request_lists_the_models(server, requests_seen):
    found = await ask_models(find_target({"OPENAI_API_KEY": "sk-1"}, server), 5)
    assert [model.name for model in found.models] == ["tiny", "other"]
    assert (found.models[0].root, found.models[0].max_tokens) == ("/models/tiny", 2048)
    assert (found.models[1].root, found.models[1].max_tokens) == ("other", None)
    assert found.delay_s is None
    assert requests_seen == ["Bearer sk-1"]


async def test_first_request_to_a_queue_has_its_delay(server):
    found = await ask_models(find_target({}, f"{server}/v2/cold"), 5)
    assert found.delay_s == 41
    assert found.models[0].name == "tiny"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/empty", "listed no models"),
        ("/page", "answered without JSON"),
        ("/locked", "answered 401: invalid key; set OPENAI_API_KEY to a valid key"),
        ("/nothing", "answered 404: Not Found; check the URL"),
        ("/v2/broken", "the first job ended as FAILED: out of memory"),
        ("/v2/starting", "no worker of .*/v2/starting was ready within 1 s; see the endpoint's"),
    ],
)
async def test_endpoint_that_cannot_be_used(server, path, said):
    with pytest.raises(WorkerError, match=said):
        await ask_models(find_target({}, server + path), 1)


async def test_request_that_is_rejected(server):
    target = find_target({}, server)
    await try_request(target, "/v1/completions", {"prompt": "x"}, 5)
    with pytest.raises(WorkerError, match="answered 400: 90000 tokens are too many; the model"):
        await try_request(target, "/v1/completions", {"prompt": "too long"}, 5)


async def test_endpoint_that_is_dead():
    with pytest.raises(WorkerError, match="cannot be reached") as caught:
        await ask_models(find_target({}, f"http://127.0.0.1:{free_port()}"), 5)
    assert caught.value.exit_code == ExitCode.UNAVAILABLE


async def test_model_is_the_first_or_the_named_one(server):
    models = (await ask_models(find_target({}, server), 5)).models
    assert find_model(models, None).name == "tiny"
    assert find_model(models, "other").name == "other"
    with pytest.raises(WorkerError, match=r"has no 'Tiny'; it has tiny, other[.] Did you mean"):
        find_model(models, "Tiny")
