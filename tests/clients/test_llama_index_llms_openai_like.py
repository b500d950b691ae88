"""`OpenAILike`: chat, completion, streams, tools, structured output, errors."""

# Annotations are values here: FunctionTool reads them.
from typing import Literal

import openai
import pydantic
import pytest
from conftest import ANSWER, QUESTION
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike


class City(pydantic.BaseModel):
    """A city."""

    name: Literal["Paris", "Rome"]
    large: bool


@pytest.fixture
def build(endpoint):
    def build(**more):
        options = {
            "model": endpoint.model,
            "is_chat_model": True,
            "is_function_calling_model": True,
            "context_window": 2048,
            "temperature": 0,
            "max_tokens": 200,
            "max_retries": 0,
            "strict": True,
        }
        return OpenAILike(api_base=endpoint.openai_url, api_key="local", **{**options, **more})

    return build


def test_chat_is_answered(build):
    answer = build().chat([ChatMessage(role="user", content=QUESTION)])
    assert ANSWER in answer.message.content


def test_chat_is_streamed(build):
    chunks = [p.delta for p in build().stream_chat([ChatMessage(role="user", content=QUESTION)])]
    assert ANSWER in "".join(chunk or "" for chunk in chunks)
    assert len(chunks) > 1


def test_text_is_continued(build):
    assert ANSWER in build(is_chat_model=False).complete("The capital of France is").text


def test_tool_is_called(build):
    def look_up(name: Literal["Paris", "Rome"], large: bool) -> str:
        """Look a city up."""
        return name

    llm = build()
    answer = llm.chat_with_tools(
        [FunctionTool.from_defaults(look_up)], user_msg=QUESTION, tool_required=True
    )
    [call] = llm.get_tool_calls_from_response(answer)
    assert call.tool_name == "look_up"


def test_answer_is_parsed(build):
    answer = build().structured_predict(City, PromptTemplate(QUESTION))
    assert isinstance(answer, City)


def test_refusal_names_its_reason(build):
    with pytest.raises(openai.APIError) as caught:
        build(model="nope").chat([ChatMessage(role="user", content=QUESTION)])
    assert caught.value.code == "model_not_found"
