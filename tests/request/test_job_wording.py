"""The texts that callers read, as they read them."""

import pytest
from syrupy.assertion import SnapshotAssertion

from worker.errors import RequestError
from worker.request import Batching, RequestDefaults, parse_job
from worker.request.routes import CHAT, COMPLETIONS

DEFAULTS = RequestDefaults(model="served", batching=Batching(1, 50, 3.0), max_tokens=16)

MISTAKES = {
    "empty": {},
    "misspelt prompt": {"promt": "Hi"},
    "no prompt": {"sampling_params": {}},
    "wrong types": {"prompt": "Hi", "sampling_params": {"max_tokens": 1.5, "temperature": "0.7"}},
    "misspelt parameter": {"prompt": "Hi", "sampling_params": {"max_token": 5}},
    "two places": {"prompt": "Hi", "max_tokens": 5, "sampling_params": {"max_tokens": 6}},
    "parameter inside": {"prompt": "Hi", "sampling_params": {"tools": []}},
    "tools without messages": {"prompt": "Hi", "tools": [{"type": "function"}]},
    "removed parameter": {"prompt": "Hi", "sampling_params": {"guided_json": {}}},
    "early stopping": {"prompt": "Hi", "sampling_params": {"early_stopping": True}},
    "best_of in a stream": {"prompt": "Hi", "stream": True, "sampling_params": {"best_of": 3}},
    "length penalty": {"prompt": "Hi", "sampling_params": {"length_penalty": 2.0}},
    "beam with stop": {"prompt": "Hi", "sampling_params": {"use_beam_search": True, "stop": "a"}},
    "misspelt in a body": {"openai_route": CHAT, "openai_input": {"max_tokenz": 1}},
    "guided in a body": {"openai_route": CHAT, "openai_input": {"guided_regex": "a"}},
    "other route's name": {
        "openai_route": COMPLETIONS,
        "openai_input": {"prompt": "Hi", "documents": [{}]},
    },
    "no body": {"openai_route": CHAT},
    "closed route": {"route": "/v1/load_lora_adapter", "body": {}},
    "unknown route": {"route": "/v1/embedding", "body": {}},
    "not a path": {"route": "http://example.com/v1/models"},
    "wrong method": {"route": "/v1/models", "method": "DELETE"},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_parse_job_error_of_each_mistake_matches_the_snapshot(
    name: str, snapshot: SnapshotAssertion
) -> None:
    with pytest.raises(RequestError) as caught:
        parse_job(MISTAKES[name], DEFAULTS)

    assert caught.value.body() == snapshot
