"""Requests of real clients: what is placed, translated, refused or ignored."""

from typing import Any

import pytest

from worker.errors import RequestError
from worker.request import Batching, EngineRequest, RequestDefaults, compat, parse_job
from worker.request.compat import COMPAT_PARAMETERS
from worker.request.openai import known_fields
from worker.request.routes import CHAT, COMPLETIONS

DEFAULTS = RequestDefaults(model="served", batching=Batching(1, 50, 3.0), max_tokens=16)
HELLO = [{"role": "user", "content": "Hello"}]


VALUES = (
    *(None, True, False, 0, -1, 1.5, "", "json", "hidden", [], ["text"], {}),
    *({"type": "enabled"}, {"type": "regex", "value": "a"}, {"effort": None, "enabled": 1}),
)


def native(**members: Any) -> dict[str, Any]:
    return members if "messages" in members else {"prompt": "Hi", **members}


def chat(**members: Any) -> dict[str, Any]:
    return {"openai_route": CHAT, "openai_input": {"messages": HELLO, **members}}


def text(**members: Any) -> dict[str, Any]:
    return {"openai_route": COMPLETIONS, "openai_input": {"prompt": "Hi", **members}}


def ask(job_input: Any, **settings: Any) -> EngineRequest:
    return parse_job(job_input, RequestDefaults("served", DEFAULTS.batching, 16, **settings))


def refusal(job_input: Any, **settings: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        ask(job_input, **settings)
    return caught.value


LANGCHAIN_RUNPOD = {"temperature": 0.7, "max_tokens": 20, "top_p": 0.9, "top_k": 5, "stop": ["\n"]}
THINK = {"chat_template_kwargs": {"enable_thinking": True}}

# Name of the case: job input, and what vLLM gets in addition to the prompt or the messages.
TRANSLATED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "langchain-runpod": (native(**LANGCHAIN_RUNPOD), LANGCHAIN_RUNPOD),
    "the same value in both places": (
        native(max_tokens=5, sampling_params={"max_tokens": 5, "n": 2}),
        {"max_tokens": 5, "n": 2},
    ),
    "null outside, value inside": (
        native(max_tokens=None, sampling_params={"max_tokens": 5}),
        {"max_tokens": 5},
    ),
    "original's own members": (
        native(use_openai_format=False, stream_options={"include_usage": True}, max_tokens=5),
        {"max_tokens": 5},
    ),
    "alias max_new_tokens": (native(sampling_params={"max_new_tokens": 5}), {"max_tokens": 5}),
    "alias outside": (native(max_completion_tokens=5), {"max_tokens": 5}),
    "alias and its name": (
        native(sampling_params={"max_new_tokens": 5, "max_tokens": 5}),
        {"max_tokens": 5},
    ),
    "alias vllm_xargs": (
        native(sampling_params={"vllm_xargs": {"a": 1}, "max_tokens": 5}),
        {"vllm_xargs": {"a": 1}, "max_tokens": 5},
    ),
    "empty messages with a prompt": (native(messages=[], prompt="Hi", n=2), {"n": 2}),
    "empty prompt with messages": (native(messages=HELLO, prompt="", n=2), {"n": 2}),
    "native enable_thinking": (native(messages=HELLO, enable_thinking=True), THINK),
    "native thinking_budget": (
        native(messages=HELLO, sampling_params={"thinking_budget": 7}),
        {"thinking_token_budget": 7},
    ),
    "native extra_body": (
        native(messages=HELLO, extra_body={"top_k": 3, "extra_body": {"min_p": 0.1}}),
        {"top_k": 3, "min_p": 0.1},
    ),
    "native options of Ollama": (
        native(options={"num_predict": 7, "repeat_penalty": 1.1}),
        {"max_tokens": 7, "repetition_penalty": 1.1},
    ),
    "guidellm": (
        text(max_tokens=9, max_completion_tokens=9, ignore_eos=True, stop=None),
        {"max_tokens": 9, "ignore_eos": True},
    ),
    "max_completion_tokens alone": (text(max_completion_tokens=9), {"max_tokens": 9}),
    "what chat alone uses, empty": (
        text(messages=[], functions=[], tools=[], parallel_tool_calls=True),
        {},
    ),
    "what completions alone use, empty": (chat(prompt="", functions=[], suffix=""), {}),
    "enable_thinking": (chat(enable_thinking=True), THINK),
    "enable_thinking with other variables": (
        chat(enable_thinking=True, chat_template_kwargs={"a": 1}),
        {"chat_template_kwargs": {"a": 1, "enable_thinking": True}},
    ),
    "thinking_budget": (chat(thinking_budget=5), {"thinking_token_budget": 5}),
    "extra_body": (chat(extra_body={"top_k": 3, **THINK}), {"top_k": 3, **THINK}),
    "extra_body, same value": (chat(top_k=3, extra_body={"top_k": 3}), {"top_k": 3}),
    "TGI": (text(max_new_tokens=5, do_sample=True, details=False), {"max_tokens": 5}),
    "Anthropic": (chat(stop_sequences=["END"]), {"stop": ["END"]}),
    "SGLang": (chat(regex="a+", no_stop_trim=True), {"structured_outputs": {"regex": "a+"}}),
    "llama.cpp": (
        chat(n_predict=5, grammar='root ::= "a"', cache_prompt=True, id_slot=1, mirostat=0),
        {"max_tokens": 5, "structured_outputs": {"grammar": 'root ::= "a"'}},
    ),
    "limit in a chat that has one": (
        chat(max_new_tokens=5, max_completion_tokens=5),
        {"max_completion_tokens": 5},
    ),
    "OpenRouter": (
        chat(reasoning={"effort": "low", "exclude": True}, provider={"sort": "price"}),
        {"reasoning_effort": "low", "include_reasoning": False},
    ),
    "Ollama": (chat(think=False, keep_alive="5m", format="json"), {"structured_outputs": {}}),
    "Anthropic's thinking": (
        chat(thinking={"type": "enabled", "budget_tokens": 5}),
        {**THINK, "thinking_token_budget": 5},
    ),
    "LiteLLM": (chat(num_retries=2, fallbacks=["a"], metadata={}, timeout=5, drop_params=True), {}),
}


@pytest.mark.parametrize("case", TRANSLATED)
def test_parse_job_parameter_of_another_client_reaches_vllm(case):
    job_input, expected = TRANSLATED[case]

    call = ask(job_input)

    if case == "Ollama":
        expected = {
            "chat_template_kwargs": {"enable_thinking": False},
            "structured_outputs": {"json_object": True},
        }
    assert {name: call.body.get(name) for name in expected} == expected
    assert call.body.get("max_tokens", 16) == expected.get("max_tokens", 16)
    assert call.path == (CHAT if call.body.get("messages") else COMPLETIONS)
    assert call.ignored == ()


@pytest.mark.parametrize(
    ("job_input", "param", "other"),
    [
        (native(max_tokens=5, sampling_params={"max_tokens": 6}), "max_tokens", "sampling_params"),
        (
            native(sampling_params={"max_new_tokens": 5, "max_tokens": 6}),
            "sampling_params.max_new_tokens",
            "sampling_params.max_tokens",
        ),
        (native(max_new_tokens=5, max_completion_tokens=6), "max_completion_tokens", "new_tokens"),
        (native(extra_body={"top_k": 1}, top_k=2), "extra_body.top_k", "top_k"),
        (text(max_tokens=5, max_completion_tokens=6), "max_completion_tokens", "max_tokens"),
        (chat(max_completion_tokens=5, n_predict=6), "n_predict", "max_completion_tokens"),
        (chat(extra_body={"top_k": 1}, top_k=2), "extra_body.top_k", "top_k"),
        (
            chat(enable_thinking=True, chat_template_kwargs={"enable_thinking": False}),
            "enable_thinking",
            "chat_template_kwargs.enable_thinking",
        ),
        (
            chat(regex="a", structured_outputs={"regex": "b"}),
            "regex",
            "structured_outputs",
        ),
        (text(max_tokens=1, max_new_tokens=True), "max_new_tokens", "max_tokens"),
    ],
    ids=str,
)
def test_parse_job_two_names_with_different_values_is_an_error_with_both(job_input, param, other):
    error = refusal(job_input)

    assert (error.code, error.param) == ("conflicting_parameters", param)
    assert other in error.message.removeprefix(param)


@pytest.mark.parametrize(
    ("job_input", "code", "param", "words"),
    [
        (native(max_new_token=5), "unknown_parameter", "max_new_token", "max_new_tokens"),
        (native(enable_thinkng=True), "unknown_parameter", "enable_thinkng", "enable_thinking"),
        (native(temprature=1), "unknown_parameter", "temprature", "temperature"),
        (native(sampling_params={"topK": 1}), "unknown_parameter", "sampling_params.topK", "top_k"),
        (native(temperature="0.7"), "invalid_parameter", "temperature", "without quotes"),
        (native(stop=["a", ""]), "invalid_parameter", "stop[1]", "at least 1 character"),
        (native(guided_json={"a": 1}), "removed_parameter", "guided_json", "structured_outputs"),
        (native(prompt_embeds="x"), "unsupported_parameter", "prompt_embeds", "openai_route"),
        (
            native(sampling_params={"tools": [{}]}),
            "misplaced_parameter",
            "sampling_params.tools",
            "",
        ),
        (native(extra_body=[1]), "invalid_parameter", "extra_body", "an object"),
        (chat(extra_body="x"), "invalid_parameter", "extra_body", "an object"),
        (chat(extra_body={"temprature": 1}), "unknown_parameter", "temprature", "temperature"),
        (chat(extra_body={"guided_regex": "a"}), "removed_parameter", "guided_regex", "regex"),
        (chat(extra_bdy={"a": 1}), "unknown_parameter", "extra_bdy", "extra_body"),
        (text(messages=HELLO), "unsupported_parameter", "messages", "prompt"),
        (chat(prompt="Hi"), "unsupported_parameter", "prompt", "messages"),
    ],
    ids=str,
)
def test_parse_job_likely_mistake_is_refused_with_the_right_name(job_input, code, param, words):
    error = refusal(job_input)

    assert (error.code, error.param) == (code, param)
    assert words in error.message


IGNORED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown name": (native(zzz=1), ("zzz",)),
    "unknown name inside": (native(sampling_params={"zzz": 1}), ("zzz",)),
    "sampler of llama.cpp": (native(mirostat=2, typical_p=0.5), ("mirostat", "typical_p")),
    "use_openai_format": (native(use_openai_format=True), ("use_openai_format",)),
    "no usage": (native(stream_options={"include_usage": False}), ("stream_options",)),
    "thinking without a template": (native(enable_thinking=True), ("enable_thinking",)),
    "value without a meaning": (chat(enable_thinking="maybe"), ("enable_thinking",)),
    "no limit": (chat(n_predict=-1), ("n_predict",)),
    "unknown name in a chat": (chat(zzz=1, n=2), ("zzz",)),
    "web search": (chat(plugins=[{"id": "web"}], verbosity="low"), ("plugins", "verbosity")),
    "top_a": (chat(extra_body={"top_a": 0.5}), ("top_a",)),
    "another route": ({"route": "/tokenize", "body": {"prompt": "a", "zzz": 1}}, ("zzz",)),
    "next to the route": ({"route": "/tokenize", "body": {"prompt": "a"}, "zzz": 1}, ("zzz",)),
    "thinking of a completion": (text(enable_thinking=True), ("enable_thinking",)),
}


KNOWN = known_fields()[CHAT].known | known_fields()[COMPLETIONS].known


def test_compat_parameter_leads_to_names_of_vllm_whatever_its_value():
    for name, found in COMPAT_PARAMETERS.items():
        assert found.target is None or found.target in KNOWN, name
        for value in VALUES:
            members = found.translate(value)
            assert members is None or members.keys() <= KNOWN, (name, value)


def test_compat_parameter_is_declared_once():
    names = [name for name, _ in compat.entries()]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("case", IGNORED)
def test_parse_job_unknown_parameter_is_ignored_and_named(case):
    job_input, names = IGNORED[case]

    assert ask(job_input).ignored == names


@pytest.mark.parametrize("case", IGNORED)
def test_parse_job_unknown_parameter_is_refused_where_a_setting_says_so(case):
    job_input, names = IGNORED[case]

    error = refusal(job_input, reject_unknown=True)

    assert (error.code, error.param) == ("unknown_parameter", names[0])
    assert "REJECT_UNKNOWN_PARAMETERS" in error.message


@pytest.mark.parametrize("case", TRANSLATED)
def test_parse_job_setting_refuses_nothing_that_has_an_effect(case):
    assert ask(TRANSLATED[case][0], reject_unknown=True).body


def test_parse_job_extra_body_can_ask_for_a_stream():
    assert ask(chat(extra_body={"stream": True})).stream


def test_parse_job_many_unknown_names_are_listed_up_to_a_limit():
    error = refusal(chat(**{f"zzz{number}": 1 for number in range(5000)}), reject_unknown=True)

    assert "more" in error.message
    assert len(error.message) < 2000


def test_parse_job_ignored_value_is_in_no_error():
    error = refusal(chat(zzz="secret value"), reject_unknown=True)

    assert "secret" not in str(error.body())
