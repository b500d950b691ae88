import pytest

from worker.errors import RequestError
from worker.request.structured_output import (
    check_grammar_size,
    structured_constraints,
    token_constraints,
)

SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}


@pytest.mark.parametrize(
    ("body", "constraints"),
    [
        pytest.param({"structured_outputs": {"regex": "a"}}, ["structured_outputs"], id="vllm"),
        pytest.param({"structured_outputs": None}, [], id="null"),
        pytest.param({"response_format": SCHEMA}, ["response_format"], id="openai"),
        pytest.param({"response_format": {"type": "text"}}, [], id="free text"),
        pytest.param({"response_format": {}}, [], id="format without type"),
        pytest.param({"text": {"format": SCHEMA}}, ["text"], id="responses"),
        pytest.param({"text": {"format": {"type": "text"}}}, [], id="responses, free text"),
        pytest.param({"text": {"verbosity": "low"}}, [], id="responses, no format"),
        pytest.param({"tool_choice": "required"}, ["tool_choice"], id="some tool"),
        pytest.param({"tool_choice": "auto"}, [], id="tool or text"),
        pytest.param({"tool_choice": {"type": "function"}}, ["tool_choice"], id="named tool"),
        pytest.param({"tool_choice": {"type": "any"}}, ["tool_choice"], id="anthropic, any"),
        pytest.param({"tool_choice": {"type": "auto"}}, [], id="anthropic, auto"),
        pytest.param({"tool_choice": {"type": ["any"]}}, [], id="wrong kind of type"),
        pytest.param({"tool_choice": {}}, [], id="empty choice"),
        pytest.param({"tool_choice": []}, [], id="wrong kind of choice"),
        pytest.param({"prompt": "structured_outputs"}, [], id="none"),
    ],
)
def test_structured_constraints_names_the_constraining_parameters(body, constraints):
    assert structured_constraints(body) == constraints


def test_token_constraints_names_the_parameters_that_forbid_tokens():
    body = {"bad_words": ["a"], "allowed_token_ids": [], "min_tokens": None, "top_k": 1}
    assert token_constraints({**body, "thinking_token_budget": 0}) == [
        "bad_words",
        "thinking_token_budget",
    ]


def test_check_grammar_size_ignores_uncompiled_constraints():
    large = {"name": "f", "parameters": {"enum": ["x" * 99] * 99}}
    small = {"name": "g", "parameters": {}, "strict": True}
    tools = [{"type": "function", "function": each} for each in (large, small)]
    named = {"type": "function", "function": {"name": "g"}}

    for choice in ("auto", "none", named):
        check_grammar_size({"tools": tools, "tool_choice": choice}, 1000)
    check_grammar_size(
        {"response_format": {"type": "text", "x": "x" * 2000}, "prompt": "x" * 2000}, 1000
    )
    with pytest.raises(RequestError, match=r"tools: .* at most 1000"):
        check_grammar_size({"tools": tools, "tool_choice": "required"}, 1000)
