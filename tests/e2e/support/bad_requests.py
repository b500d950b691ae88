"""Requests that cannot be answered: the input, the code of the error, and a word of its text."""

from __future__ import annotations

from typing import Any

from worker.request.routes import CHAT, COMPLETIONS

HELLO = [{"role": "user", "content": "Hi"}]
IMAGE = "data:image/png;base64,iVBORw0KGgo="

NATIVE: dict[str, tuple[Any, str, str]] = {
    "no object": ("text", "invalid_job_input", "object"),
    "a list": (["prompt"], "invalid_job_input", "object"),
    "empty": ({}, "invalid_job_input", "empty"),
    "misspelt prompt": ({"promt": "x"}, "invalid_job_input", "prompt"),
    "two shapes": ({"prompt": "x", "route": "/v1/models"}, "invalid_job_input", "shapes"),
    "no prompt": ({"sampling_params": {}}, "missing_parameter", "prompt"),
    "empty prompt": ({"prompt": ""}, "invalid_parameter", "prompt"),
    "prompt of numbers": ({"prompt": [1.5]}, "invalid_parameter", "prompt"),
    "token beyond the vocabulary": ({"prompt": [999_999]}, "invalid_request", "vocabulary"),
    "no messages": ({"messages": []}, "invalid_parameter", "messages"),
    "message without role": ({"messages": [{"content": "x"}]}, "invalid_request", "role"),
    "image for a text model": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": IMAGE}]}]},
        "invalid_request",
        "",
    ),
    "image without a model for it": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": IMAGE}}],
                }
            ]
        },
        "invalid_request",
        "",
    ),
    "model not served": ({"prompt": "x", "model": "nope"}, "model_not_found", "nope"),
    "unknown name": ({"prompt": "x", "strem": True}, "unknown_parameter", "stream"),
    "two limits": (
        {"prompt": "x", "max_tokens": 5, "sampling_params": {"max_new_tokens": 6}},
        "conflicting_parameters",
        "max_new_tokens",
    ),
    "misplaced name": (
        {"prompt": "x", "sampling_params": {"tools": [{}]}},
        "misplaced_parameter",
        "next to",
    ),
    "more stop strings than allowed": (
        {"prompt": "x", "sampling_params": {"stop": [str(n) for n in range(65)]}},
        "invalid_request",
        "64",
    ),
    "tools without messages": ({"prompt": "x", "tools": [{}]}, "unsupported_parameter", "tools"),
    "wrong kind of stream": ({"prompt": "x", "stream": "yes"}, "invalid_parameter", "stream"),
    "growth below one": (
        {"prompt": "x", "batch_size_growth_factor": 0.5},
        "invalid_parameter",
        "batch_size_growth_factor",
    ),
    "number for a text": ({"prompt": "x", "cache_salt": 10**30}, "invalid_parameter", "string"),
    "template without messages": (
        {"prompt": ["a", "b"], "apply_chat_template": True},
        "conflicting_parameters",
        "apply_chat_template",
    ),
    "broken chat template": (
        {"messages": HELLO, "chat_template": "{% if %}"},
        "invalid_request",
        "",
    ),
    "chat template that raises": (
        {"messages": HELLO, "chat_template": "{{ raise_exception('own words') }}"},
        "invalid_request",
        "",
    ),
    "chat template with an undefined name": (
        {"messages": HELLO, "chat_template": "{{ nothing.inside.it }}"},
        "invalid_request",
        "",
    ),
    "broken tool": (
        {"messages": HELLO, "tools": [{"type": "function"}]},
        "invalid_request",
        "function",
    ),
    "tool choice of nobody": (
        {
            "messages": HELLO,
            "tools": [{"type": "function", "function": {"name": "a"}}],
            "tool_choice": {"type": "function", "function": {"name": "b"}},
        },
        "invalid_request",
        "tool",
    ),
    "tool choice without tools": (
        {"messages": HELLO, "tool_choice": "required"},
        "invalid_request",
        "tools",
    ),
    "both structured outputs": (
        {
            "prompt": "x",
            "structured_outputs": {"regex": "a"},
            "sampling_params": {"structured_outputs": {"regex": "a"}},
        },
        "conflicting_parameters",
        "structured_outputs",
    ),
    "response format of no kind": (
        {"messages": HELLO, "response_format": {"type": "xml"}},
        "invalid_request",
        "response_format",
    ),
    "continue and open": (
        {"messages": HELLO, "add_generation_prompt": True, "continue_final_message": True},
        "invalid_request",
        "continue_final_message",
    ),
}

SAMPLING: dict[str, tuple[dict[str, Any], str, str]] = {
    "text for a number": ({"temperature": "0.7"}, "invalid_parameter", "without quotes"),
    "fraction of a token": ({"max_tokens": 1.5}, "invalid_parameter", "integer"),
    "misspelt": ({"max_token": 5}, "unknown_parameter", "max_tokens"),
    "out of bounds": ({"temperature": 2.5}, "invalid_parameter", "at most 2"),
    "zero top_p": ({"top_p": 0}, "invalid_parameter", "above 0"),
    "two at once": ({"top_p": 7, "n": 0}, "invalid_parameter", "n"),
    "guided": ({"guided_json": {}}, "removed_parameter", "structured_outputs"),
    "early stopping": ({"early_stopping": True}, "removed_parameter", "beam search"),
    "logits processors": ({"logits_processors": ["a"]}, "removed_parameter", "logit_bias"),
    "best_of below n": ({"n": 3, "best_of": 2}, "conflicting_parameters", "at least n"),
    "greedy copies": ({"n": 3, "temperature": 0}, "conflicting_parameters", "temperature 0"),
    "penalty without beams": ({"length_penalty": 2.0}, "conflicting_parameters", "beam"),
    "beams with stop": ({"use_beam_search": True, "stop": "a"}, "conflicting_parameters", "stop"),
    "form without a token": (
        {"structured_outputs": {"choice": ["ab"]}, "allowed_token_ids": [300]},
        "unsatisfiable_constraints",
        "sampling_params.allowed_token_ids",
    ),
    "no token": ({"max_tokens": 0}, "conflicting_parameters", "at least 1"),
    "too many tokens": ({"max_tokens": 99_999}, "context_length_exceeded", "2048"),
    "too many logprobs": ({"logprobs": 5000}, "invalid_request", "logprobs"),
    "bias for no token": ({"logit_bias": {"abc": 1}}, "invalid_request", "logit_bias"),
    "bias beyond the vocabulary": ({"logit_bias": {"99999": 1}}, "invalid_request", "vocab"),
    "allowed beyond the vocabulary": (
        {"allowed_token_ids": [99_999]},
        "invalid_request",
        "allowed_token_ids",
    ),
    "more than max_tokens": ({"min_tokens": 9, "max_tokens": 8}, "invalid_request", "min_tokens"),
    "empty stop": ({"stop": ""}, "invalid_parameter", "stop"),
    "seed beyond 64 bits": ({"seed": 2**63}, "invalid_parameter", "seed"),
    "broken expression": (
        {"structured_outputs": {"regex": "("}},
        "invalid_request",
        "regex",
    ),
    "broken grammar": ({"structured_outputs": {"grammar": "::"}}, "invalid_request", "rammar"),
    "broken schema": (
        {"structured_outputs": {"json": {"type": "nonsense"}}},
        "invalid_request",
        "",
    ),
    "schema that is not JSON": ({"structured_outputs": {"json": "{"}}, "invalid_request", ""),
    "two forms": (
        {"structured_outputs": {"regex": "a", "choice": ["a"]}},
        "invalid_request",
        "structured",
    ),
    "no form": ({"structured_outputs": {}}, "invalid_request", "structured"),
    "budget without reasoning": ({"thinking_token_budget": 5}, "invalid_request", "reasoning"),
}
"""Sampling parameters of native requests."""

BODIES: dict[str, tuple[str, Any, str, str]] = {
    "chat without messages": (CHAT, {}, "invalid_request", "messages"),
    "chat with a number": (CHAT, {"messages": 5}, "invalid_parameter", "messages"),
    "chat with a misspelt name": (
        CHAT,
        {"messages": HELLO, "temprature": 1},
        "unknown_parameter",
        "temperature",
    ),
    "chat with a text as number": (
        CHAT,
        {"messages": HELLO, "max_tokens": "many"},
        "invalid_request",
        "max_tokens",
    ),
    "chat with too many tokens": (
        CHAT,
        {"messages": HELLO, "max_tokens": 99_999},
        "context_length_exceeded",
        "2048",
    ),
    "chat with the other's name": (
        CHAT,
        {"messages": HELLO, "suffix": "a"},
        "unsupported_parameter",
        "/v1/completions",
    ),
    "chat with an unknown role": (
        CHAT,
        {"messages": [{"role": 5, "content": "x"}]},
        "invalid_request",
        "",
    ),
    "chat with logprobs without number": (
        CHAT,
        {"messages": HELLO, "top_logprobs": 3},
        "invalid_request",
        "logprobs",
    ),
    "chat streaming beams": (
        CHAT,
        {"messages": HELLO, "stream": True, "use_beam_search": True},
        "conflicting_parameters",
        "stream: false",
    ),
    "completion without prompt": (COMPLETIONS, {}, "invalid_request", "prompt"),
    "completion with chat's name": (
        COMPLETIONS,
        {"prompt": "x", "documents": [{}]},
        "unsupported_parameter",
        "/v1/chat/completions",
    ),
    "completion with two limits": (
        COMPLETIONS,
        {"prompt": "x", "max_completion_tokens": 5, "max_tokens": 6},
        "conflicting_parameters",
        "max_tokens",
    ),
    "chat with two places": (
        CHAT,
        {"messages": HELLO, "top_k": 1, "extra_body": {"top_k": 2}},
        "conflicting_parameters",
        "extra_body.top_k",
    ),
    "completion of nested lists": (COMPLETIONS, {"prompt": [["a"]]}, "invalid_request", ""),
    "completion with model": (COMPLETIONS, {"prompt": "x", "model": "no"}, "model_not_found", "no"),
    "responses without input": ("/v1/responses", {}, "invalid_request", "input"),
    "responses with chat's name": (
        "/v1/responses",
        {"input": "x", "max_tokens": 5},
        "unsupported_parameter",
        "max_output_tokens",
    ),
    "responses with a number": ("/v1/responses", {"input": 5}, "invalid_request", "input"),
    "responses after nothing": (
        "/v1/responses",
        {"input": "x", "previous_response_id": "resp_none"},
        "not_found",
        "resp_none",
    ),
    "messages without limit": (
        "/v1/messages",
        {"messages": HELLO},
        "invalid_request",
        "max_tokens",
    ),
    "messages below zero": (
        "/v1/messages",
        {"messages": HELLO, "max_tokens": -1},
        "invalid_request",
        "positive",
    ),
    "messages with OpenAI's name": (
        "/v1/messages",
        {"messages": HELLO, "max_tokens": 5, "stop": "a"},
        "unsupported_parameter",
        "stop_sequences",
    ),
    "embeddings of a text model": ("/v1/embeddings", {"input": "x"}, "route_not_served", "model"),
    "scores of a text model": (
        "/v1/score",
        {"text_1": "x", "text_2": "y"},
        "route_not_served",
        "model",
    ),
    "speech of a text model": (
        "/v1/audio/transcriptions",
        {"file": "AAAA"},
        "route_not_served",
        "model",
    ),
    "speech without a file": ("/v1/audio/transcriptions", {}, "missing_parameter", "base64"),
    "tokens of nothing": ("/tokenize", {}, "invalid_request", ""),
    "text of no tokens": ("/detokenize", {"tokens": ["a"]}, "invalid_request", "tokens"),
    "text of tokens beyond the vocabulary": (
        "/detokenize",
        {"tokens": [2**62]},
        "invalid_request",
        "",
    ),
    "no such route": ("/v1/embedding", {"input": "x"}, "unknown_route", "/v1/embeddings"),
    "closed route": ("/v1/load_lora_adapter", {}, "route_closed", "OPEN_CONTROL_ROUTES"),
    "route out of bounds": ("/v1/../metrics", {}, "invalid_route", "plain path"),
}
"""Bodies of OpenAI routes and others."""
