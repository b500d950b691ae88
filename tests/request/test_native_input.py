import json
from pathlib import Path

import jsonschema
import pytest

from worker.errors import RequestError
from worker.metadata import find_meta
from worker.request import Batching, BestOf, EngineRequest, RequestDefaults, parse_job
from worker.request.field import input_modes_of
from worker.request.job_input import BatchingInput, NativeInput
from worker.request.native_input import SAMPLING
from worker.request.openai import known_fields
from worker.request.routes import CHAT, COMPLETIONS
from worker.request.sampling import SamplingParameters

DEFAULTS = RequestDefaults(model="served", batching=Batching(1, 50, 3.0), max_tokens=16)
SCHEMAS = Path(__file__).parents[2] / "schemas" / "requests"
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def ask(sampling: dict | None = None, **outer: object) -> EngineRequest:
    start = {} if "messages" in outer else {"prompt": "Hi"}
    return parse_job({**start, "sampling_params": sampling or {}, **outer}, DEFAULTS)


# One value for each sampling parameter, and what becomes of it in a completion and in a chat body.
SAMPLING_VALUES = {
    "n": (2, {"n": 2}),
    "presence_penalty": (-2, {"presence_penalty": -2}),
    "frequency_penalty": (0.5, {"frequency_penalty": 0.5}),
    "repetition_penalty": (1.2, {"repetition_penalty": 1.2}),
    "temperature": (0.7, {"temperature": 0.7}),
    "top_p": (1, {"top_p": 1}),
    "top_k": (-1, {"top_k": -1}),
    "min_p": (0.1, {"min_p": 0.1}),
    "use_beam_search": (True, {"use_beam_search": True}),
    "early_stopping": ("never", {}),
    "stop": (["a", "b"], {"stop": ["a", "b"]}),
    "stop_token_ids": ([1, 2], {"stop_token_ids": [1, 2]}),
    "ignore_eos": (True, {"ignore_eos": True}),
    "max_tokens": (40, {"max_tokens": 40}),
    "min_tokens": (3, {"min_tokens": 3}),
    "skip_special_tokens": (False, {"skip_special_tokens": False}),
    "spaces_between_special_tokens": (False, {"spaces_between_special_tokens": False}),
    "include_stop_str_in_output": (True, {"include_stop_str_in_output": True}),
    "seed": (-1, {"seed": -1}),
    "prompt_logprobs": (1, {"prompt_logprobs": 1}),
    "logprob_token_ids": ([5], {"logprob_token_ids": [5]}),
    "logit_bias": ({"5": -100}, {"logit_bias": {"5": -100}}),
    "allowed_token_ids": ([5], {"allowed_token_ids": [5]}),
    "bad_words": (["no"], {"bad_words": ["no"]}),
    "structured_outputs": (
        {"json": {"type": "object"}},
        {"structured_outputs": {"json": {"type": "object"}}},
    ),
    "truncate_prompt_tokens": (-1, {"truncate_prompt_tokens": -1}),
    "truncation_side": ("left", {"truncation_side": "left"}),
    "thinking_token_budget": (10, {"thinking_token_budget": 10}),
    "repetition_detection": (
        {"max_pattern_size": 3, "min_count": 2},
        {"repetition_detection": {"max_pattern_size": 3, "min_count": 2}},
    ),
    "stream_interval": (4, {"stream_interval": 4}),
    "watermarking": (False, {"watermarking": False}),
    "routed_experts_prompt_start": (1, {"routed_experts_prompt_start": 1}),
    "extra_args": ({"a": "b"}, {"vllm_xargs": {"a": "b"}}),
}
TESTED_ALONE = {"best_of", "length_penalty", "logprobs"}


def test_sampling_values_cover_every_parameter():
    assert SAMPLING_VALUES.keys() | TESTED_ALONE == SamplingParameters.model_fields.keys()


@pytest.mark.parametrize("name", SAMPLING_VALUES)
@pytest.mark.parametrize(
    "start",
    [{"prompt": "Hi"}, {"messages": HELLO}],
    ids=["prompt", "messages"],
)
def test_sampling_parameter_reaches_vllm(start, name):
    value, expected = SAMPLING_VALUES[name]

    body = ask({"max_tokens": 9, name: value}, **start).body

    assert body == {"model": "served", **start, "max_tokens": 9, **expected}


def test_sampling_parameter_names_exist_in_both_vllm_routes():
    for name in SamplingParameters.model_fields.keys() - {"early_stopping"}:
        target = find_meta(SamplingParameters.model_fields[name]).vllm_name or name
        assert target in known_fields()[CHAT].known, name
        assert target in known_fields()[COMPLETIONS].known, name


def test_native_field_names_exist_in_the_vllm_routes_that_they_work_with():
    own = {"apply_chat_template", SAMPLING, *BatchingInput.model_fields}
    routes = {"prompt": COMPLETIONS, "messages": CHAT}
    for name in NativeInput.model_fields.keys() - own:
        for kind in input_modes_of(NativeInput, name):
            assert name in known_fields()[routes[kind]].known, name
        if name not in {"prompt", "messages"}:
            works = {routes[kind] for kind in input_modes_of(NativeInput, name)}
            known = {route for route in routes.values() if name in known_fields()[route].known}
            assert works == known, name


def test_unset_parameters_are_left_to_vllm_but_max_tokens():
    assert ask().body == {"model": "served", "prompt": "Hi", "max_tokens": 16}


def test_max_tokens_default_comes_from_the_settings():
    defaults = RequestDefaults("served", DEFAULTS.batching, max_tokens=99)

    call = parse_job({"prompt": "Hi"}, defaults)

    assert call.body["max_tokens"] == 99
    assert "99" in call.limit_warning


def test_max_tokens_sent_has_no_limit_warning():
    assert ask({"max_tokens": 16}).limit_warning is None


def test_null_parameters_are_not_sent():
    call = ask({"temperature": None, "stop": None, "max_tokens": None}, tools=None)

    assert call.body == {"model": "served", "prompt": "Hi", "max_tokens": 16}


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ({"prompt": "Hi"}, {"logprobs": 3}),
        ({"messages": HELLO}, {"logprobs": True, "top_logprobs": 3}),
    ],
)
def test_logprobs_take_the_routes_own_form(start, expected):
    body = ask({"logprobs": 3}, **start).body

    assert {name: body.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("Hi", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2], [3]], 3)],
)
def test_prompt_forms_count_the_choices(prompt, prompts):
    call = ask({"n": 2}, prompt=prompt)

    assert call.body["prompt"] == prompt
    assert (call.prompts, call.choices) == (prompts, 2 * prompts)


def test_messages_as_text_become_one_user_message():
    assert ask(messages="Hello").body["messages"] == HELLO


def test_stream_asks_for_running_usage():
    call = ask(stream=True)

    assert call.stream
    assert call.body["stream"] is True
    assert call.body["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_fields_next_to_sampling_params_reach_vllm():
    outer = {
        "model": "adapter",
        "tools": [TOOL],
        "tool_choice": "required",
        "response_format": {"type": "json_object"},
        "chat_template_kwargs": {"enable_thinking": False},
        "return_token_ids": True,
        "user": "someone",
    }

    body = ask({"max_tokens": 3}, messages=HELLO, **outer).body

    assert body == {"messages": HELLO, "max_tokens": 3, **outer}


@pytest.mark.parametrize(
    ("start", "logprobs", "expected", "drop"),
    [
        ({"prompt": "Hi"}, {}, {"logprobs": 0}, True),
        ({"prompt": "Hi"}, {"logprobs": 2}, {"logprobs": 2}, False),
        ({"messages": HELLO}, {}, {"logprobs": True}, True),
        ({"messages": HELLO}, {"logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, False),
    ],
    ids=["prompt", "prompt, logprobs", "messages", "messages, logprobs"],
)
def test_best_of_asks_for_more_and_keeps_n(start, logprobs, expected, drop):
    call = ask({"n": 2, "best_of": 5, **logprobs}, **start)

    assert call.body["n"] == 5
    assert "best_of" not in call.body
    assert {name: call.body.get(name) for name in expected} == expected
    assert call.best_of == BestOf(keep=2, generated=5, drop_logprobs=drop)
    assert call.choices == 2


def test_best_of_equal_to_n_selects_nothing():
    call = ask({"n": 2, "best_of": 2})

    assert call.best_of is None
    assert call.body["n"] == 2


def test_beam_search_width_is_best_of():
    beam = {"use_beam_search": True, "n": 2, "best_of": 4, "length_penalty": 0.5}

    call = ask({**beam, "early_stopping": False, "temperature": 0})

    assert call.body["n"] == 4
    assert call.body["length_penalty"] == 0.5
    assert "logprobs" not in call.body
    assert call.best_of == BestOf(keep=2, generated=4, ranked=True, drop_logprobs=False)


@pytest.mark.parametrize(
    ("sampling", "code", "param", "words"),
    [
        ({"max_tokens": 1.5}, "invalid_parameter", "max_tokens", "an integer, got 1.5"),
        ({"max_tokens": "5"}, "invalid_parameter", "max_tokens", "without quotes"),
        ({"max_tokens": True}, "invalid_parameter", "max_tokens", "an integer, got a boolean"),
        ({"max_tokens": 0}, "conflicting_parameters", "max_tokens", "at least 1"),
        ({"max_tokens": -1}, "invalid_parameter", "max_tokens", "at least 0, got -1"),
        ({"temperature": "0.7"}, "invalid_parameter", "temperature", "without quotes"),
        ({"temperature": 2.5}, "invalid_parameter", "temperature", "at most 2"),
        ({"temperature": True}, "invalid_parameter", "temperature", "a number, got a boolean"),
        ({"top_p": 0}, "invalid_parameter", "top_p", "above 0"),
        ({"top_k": -2}, "invalid_parameter", "top_k", "at least -1"),
        ({"n": 0}, "invalid_parameter", "n", "at least 1"),
        ({"seed": 2**63}, "invalid_parameter", "seed", "at most"),
        ({"stop": 5}, "invalid_parameter", "stop", "a string or an array, got 5"),
        ({"stop": ""}, "invalid_parameter", "stop", "at least 1 character"),
        ({"stop": ["a", ""]}, "invalid_parameter", "stop[1]", "at least 1 character"),
        ({"stop_token_ids": ["a"]}, "invalid_parameter", "stop_token_ids[0]", "an integer"),
        ({"logit_bias": {"5": "x"}}, "invalid_parameter", "logit_bias.5", "a number"),
        ({"truncation_side": "up"}, "invalid_parameter", "truncation_side", "'left' or 'right'"),
        ({"structured_outputs": 5}, "invalid_parameter", "structured_outputs", "an object"),
        (
            {"structured_outputs": {"jsn": {}}},
            "unknown_parameter",
            "structured_outputs.jsn",
            "mean json?",
        ),
        ({"maxtokens": 5}, "unknown_parameter", "maxtokens", "mean max_tokens?"),
        ({"Temperature": 5}, "unknown_parameter", "Temperature", "mean temperature?"),
        ({"tools": []}, "misplaced_parameter", "tools", "next to sampling_params"),
        ({"tool": []}, "unknown_parameter", "tool", "mean tools? That belongs next to"),
        ({"guided_json": {}}, "removed_parameter", "guided_json", 'structured_outputs: {"json"'),
        ({"guided_decoding": {}}, "removed_parameter", "guided_decoding", "structured_outputs"),
        ({"early_stopping": True}, "removed_parameter", "early_stopping", "false"),
        ({"logits_processors": ["a"]}, "removed_parameter", "logits_processors", "logit_bias"),
        ({"detokenize": False}, "removed_parameter", "detokenize", "return_token_ids"),
        ({"output_kind": 1}, "removed_parameter", "output_kind", "stream"),
        ({"best_of": 1, "n": 2}, "conflicting_parameters", "best_of", "at least n (2)"),
        ({"best_of": 2, "temperature": 0}, "conflicting_parameters", "best_of", "must be 1"),
        ({"n": 2, "temperature": 0.0}, "conflicting_parameters", "n", "must be 1"),
        ({"length_penalty": 2.0}, "conflicting_parameters", "length_penalty", "use_beam_search"),
        (
            {"use_beam_search": True, "stop": "a"},
            "conflicting_parameters",
            "stop",
            "no effect in beam search",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_sampling_mistake_names_parameter_and_remedy(sampling, code, param, words):
    with pytest.raises(RequestError) as caught:
        ask(sampling)

    assert (caught.value.code, caught.value.param) == (code, f"sampling_params.{param}")
    assert words in caught.value.message
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("job_input", "code", "param", "words"),
    [
        ({"temprature": 5}, "unknown_parameter", "temprature", "temperature? That belongs inside"),
        ({"strem": True}, "unknown_parameter", "strem", "mean stream?"),
        ({"stream": "true"}, "invalid_parameter", "stream", "true or false, got 'true'"),
        ({"stream": 1}, "invalid_parameter", "stream", "true or false, got 1"),
        (
            {"sampling_params": []},
            "invalid_parameter",
            "sampling_params",
            "an object, got an array",
        ),
        ({"prompt": 5}, "invalid_parameter", "prompt", "got 5"),
        ({"prompt": [1, "a"]}, "invalid_parameter", "prompt[1]", "an integer"),
        ({"prompt": []}, "invalid_parameter", "prompt", "at least 1 item"),
        ({"tools": [TOOL]}, "unsupported_parameter", "tools", "messages, or apply_chat_template"),
        ({"messages": "a", "suffix": "b"}, "unsupported_parameter", "suffix", "a plain prompt"),
        (
            {"prompt": ["a", "b"], "apply_chat_template": True},
            "conflicting_parameters",
            "apply_chat_template",
            "one text",
        ),
        (
            {
                "structured_outputs": {"regex": "a"},
                "sampling_params": {"structured_outputs": {"regex": "a"}},
            },
            "conflicting_parameters",
            "structured_outputs",
            "keep one",
        ),
        (
            {"stream": True, "sampling_params": {"best_of": 2}},
            "conflicting_parameters",
            "sampling_params.best_of",
            "stream: false",
        ),
        (
            {"stream": True, "sampling_params": {"use_beam_search": True}},
            "conflicting_parameters",
            "sampling_params.use_beam_search",
            "stream: false",
        ),
        (
            {"response_format": {"type": "text"}, "sampling_params": {"use_beam_search": True}},
            "conflicting_parameters",
            "response_format",
            "beam search",
        ),
        (
            {"prompt": ["a", "b"], "echo": True, "sampling_params": {"best_of": 2}},
            "conflicting_parameters",
            "sampling_params.best_of",
            "single prompt",
        ),
        ({"guided_regex": "a"}, "removed_parameter", "guided_regex", "structured_outputs"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_native_mistake_names_field_and_remedy(job_input, code, param, words):
    start = {} if job_input.keys() & {"prompt", "messages"} else {"prompt": "Hi"}
    with pytest.raises(RequestError) as caught:
        parse_job({**start, **job_input}, DEFAULTS)

    assert (caught.value.code, caught.value.param) == (code, param)
    assert words in caught.value.message


def test_several_mistakes_are_reported_together():
    with pytest.raises(RequestError) as caught:
        ask({"max_tokens": 1.5, "temprature": 1, "top_p": 2})

    problems = caught.value.body()["error"]["problems"]
    assert {problem["param"] for problem in problems} == {
        "sampling_params.max_tokens",
        "sampling_params.temprature",
        "sampling_params.top_p",
    }
    assert all(problem["param"] in caught.value.message for problem in problems)


def test_max_tokens_zero_with_echo_is_allowed():
    assert ask({"max_tokens": 0}, echo=True).body["max_tokens"] == 0


@pytest.mark.parametrize("name", SAMPLING_VALUES)
@pytest.mark.parametrize(
    ("start", "file"),
    [({"prompt": "Hi"}, "v1-completions"), ({"messages": HELLO}, "v1-chat-completions")],
    ids=["prompt", "messages"],
)
def test_sampling_parameter_has_the_type_that_vllm_wants(start, file, name):
    schema = json.loads((SCHEMAS / f"{file}.json").read_text())
    value, _ = SAMPLING_VALUES[name]

    body = ask({name: value, "logprobs": 1}, **start).body

    jsonschema.Draft202012Validator(schema).validate(body)
