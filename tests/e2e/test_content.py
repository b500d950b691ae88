"""Requests that vLLM warns of or fails at: nothing of them is in what the worker prints."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.support.deployment import Api
from worker.request.routes import CHAT, COMPLETIONS

pytestmark = pytest.mark.asyncio(loop_scope="session")

CANARY = "canary-c0d5"

QUESTION = [{"role": "user", "content": CANARY}]
TOOL = {"type": "function", "function": {"name": CANARY, "parameters": {CANARY: CANARY}}}
TEMPLATE = "{{ raise_exception(messages[0].content) }}"
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{CANARY}"}}

BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "template refuses": (CHAT, {"messages": QUESTION, "chat_template": TEMPLATE}),
    "template broken": (CHAT, {"messages": QUESTION, "chat_template": "{{ " + CANARY}),
    "role": (CHAT, {"messages": [{"role": CANARY, "content": CANARY}]}),
    "content type": (CHAT, {"messages": [{"role": "user", "content": [{"type": CANARY}]}]}),
    "image": (CHAT, {"messages": [{"role": "user", "content": [IMAGE]}]}),
    "tool arguments": (
        CHAT,
        {
            "messages": [
                *QUESTION,
                {
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "id": CANARY,
                            "type": "function",
                            "function": {"name": CANARY, "arguments": CANARY},
                        }
                    ],
                },
            ]
        },
    ),
    "tool choice": (
        CHAT,
        {
            "messages": QUESTION,
            "tools": [TOOL],
            "tool_choice": {"type": "function", "function": {"name": CANARY}},
        },
    ),
    "tool schema": (CHAT, {"messages": QUESTION, "tools": [TOOL], "tool_choice": "required"}),
    # The log has the names of unknown members, on purpose, and never their values.
    "unknown member": (CHAT, {"messages": QUESTION, "x_unknown": CANARY}),
    "model": (CHAT, {"messages": QUESTION, "model": CANARY}),
    "grammar": (COMPLETIONS, {"prompt": CANARY, "structured_outputs": {"grammar": CANARY}}),
    "regex": (COMPLETIONS, {"prompt": CANARY, "structured_outputs": {"regex": f"({CANARY}"}}),
    "schema": (
        COMPLETIONS,
        {"prompt": CANARY, "structured_outputs": {"json": {"type": CANARY, "$ref": CANARY}}},
    ),
    "tag": (COMPLETIONS, {"prompt": CANARY, "structured_outputs": {"structural_tag": CANARY}}),
    "too long": (COMPLETIONS, {"prompt": f"{CANARY} " * 3000}),
    "bad words": (COMPLETIONS, {"prompt": CANARY, "bad_words": [CANARY, ""]}),
    "xargs": (COMPLETIONS, {"prompt": CANARY, "vllm_xargs": {CANARY: {CANARY: CANARY}}}),
    "processor": (COMPLETIONS, {"prompt": CANARY, "mm_processor_kwargs": {CANARY: CANARY}}),
    "request id": (COMPLETIONS, {"prompt": CANARY, "request_id": CANARY, "max_tokens": 1}),
    "responses": ("/v1/responses", {"input": CANARY, "previous_response_id": CANARY}),
    "responses item": ("/v1/responses", {"input": [{"type": CANARY, "content": CANARY}]}),
    "messages": (
        "/v1/messages",
        {
            "max_tokens": 1,
            "messages": [{"role": "user", "content": [{"type": "tool_result", "content": CANARY}]}],
        },
    ),
    "tokenize": ("/tokenize", {"prompt": CANARY, "messages": CANARY}),
    "embeddings": ("/v1/embeddings", {"input": CANARY}),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", BODIES)
async def test_request_that_vllm_dislikes_is_not_in_the_log(
    api: Api, worker_output: list[str], name: str, stream: bool
) -> None:
    route, body = BODIES[name]
    before = len(worker_output)
    sent = {**body, "stream": True} if stream else body
    await api.runsync({"openai_route": route, "openai_input": sent})
    # One more job: lines about the first one have arrived then.
    await api.runsync({"prompt": "x", "sampling_params": {"max_tokens": 1}})
    printed = worker_output[before:]
    assert printed, "the worker prints a line for each job"
    assert not [line for line in printed if CANARY in line]
