"""Shapes of a job's input, each declared once; native input in full."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from worker.request.field import Kind, Parameters, Setting, parameter
from worker.request.sampling import NonEmpty, SamplingParameters, StructuredOutputs, TokenId

_CHAT: tuple[Kind, ...] = ("messages",)
_TEXT: tuple[Kind, ...] = ("prompt",)

# Fail fast: pydantic makes an error of each problem. validation.py counts those of the same kind.
Tokens = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
Texts = Annotated[list[NonEmpty], Field(min_length=1, fail_fast=True)]
TokenLists = Annotated[list[Tokens], Field(min_length=1, fail_fast=True)]
Objects = Annotated[list[dict[str, Any]], Field(min_length=1, fail_fast=True)]
Document = Annotated[dict[str, str], Field(fail_fast=True)]
Documents = Annotated[list[Document], Field(fail_fast=True)]
MediaOptions = Annotated[dict[str, dict[str, Any]], Field(fail_fast=True)]

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class BatchingInput(Parameters):
    """How a streamed answer is cut into pieces; part of every shape."""

    max_batch_size: int | None = parameter(
        None,
        "Most tokens in one piece of a streamed answer; 0 means the setting.",
        unit="tokens",
        unset=Setting("DEFAULT_BATCH_SIZE"),
        ge=0,
        le=100_000,
    )
    min_batch_size: int | None = parameter(
        None,
        "Tokens in the first piece of a streamed answer; 0 means the setting.",
        unit="tokens",
        unset=Setting("DEFAULT_MIN_BATCH_SIZE"),
        ge=0,
        le=100_000,
    )
    batch_size_growth_factor: float | None = parameter(
        None,
        "Factor by which each piece may be larger than the one before, up to `max_batch_size`.",
        unit="ratio",
        unset=Setting("DEFAULT_BATCH_SIZE_GROWTH_FACTOR"),
        ge=0,
        le=1000,
    )


class GatewayInput(BatchingInput):
    """What RunPod's OpenAI gateway makes of a request to `/openai/v1/…`."""

    # The platform may add members; refusing them would refuse every request.
    model_config = ConfigDict(extra="ignore")

    openai_route: str = parameter(
        ..., "Route, with or without `/v1`, e.g. `/v1/chat/completions`.", min_length=1
    )
    openai_input: dict[str, Any] | str | None = parameter(
        None, "The client's JSON body; absent for GET."
    )
    method: str | None = parameter(None, "HTTP method.", unset="by route and body")


class RouteInput(BatchingInput):
    """Any route of vLLM, called by name."""

    route: str = parameter(..., "Route, e.g. `/tokenize`.", min_length=1)
    method: str | None = parameter(None, "HTTP method.", unset="by route and body")
    body: dict[str, Any] | None = parameter(None, "JSON body; absent for GET.")


class NativeInput(BatchingInput):
    """The worker's own shape: a prompt or messages, and sampling parameters."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["prompt"]}, {"required": ["messages"]}]}
    )

    prompt: NonEmpty | Tokens | Texts | TokenLists | None = parameter(
        None, "Text to continue; or its token ids; or a list of either.", kinds=_TEXT
    )
    messages: NonEmpty | Objects | None = parameter(
        None,
        "Conversation to which the model's chat template is applied; a plain text is one user "
        "message. Overrides `prompt`. Content may be parts: text, image_url, …",
        kinds=_CHAT,
    )
    apply_chat_template: bool = parameter(
        False, "Treats `prompt` as one user message.", kinds=_TEXT
    )
    sampling_params: SamplingParameters = parameter(
        SamplingParameters(), "How tokens are chosen; see the table of sampling parameters."
    )
    stream: bool = parameter(False, "Sends the answer in pieces while it is generated.")
    model: NonEmpty | None = parameter(
        None, "Served model or LoRA adapter that answers.", unset="the served model"
    )
    structured_outputs: StructuredOutputs | None = parameter(
        None, "Constrains the output to a form; the same as in `sampling_params`."
    )
    response_format: dict[str, Any] | None = parameter(
        None, 'OpenAI\'s form of a constraint, e.g. `{"type": "json_object"}`.'
    )
    echo: bool = parameter(
        False, "Puts the prompt, or the last message of the same role, before the output."
    )
    tools: Objects | None = parameter(
        None, "Functions that the model may call, in OpenAI's form.", kinds=_CHAT
    )
    tool_choice: str | dict[str, Any] | None = parameter(
        None,
        "`none`, `auto`, `required` or one named function.",
        kinds=_CHAT,
        unset="`auto` with tools",
    )
    parallel_tool_calls: bool = parameter(
        True, "Allows more than one tool call in an answer.", kinds=_CHAT
    )
    chat_template: str | None = parameter(
        None,
        "Jinja template for this request; needs a setting that trusts it.",
        kinds=_CHAT,
        unset="the model's",
    )
    chat_template_kwargs: dict[str, Any] | None = parameter(
        None, 'Variables for the chat template, e.g. `{"enable_thinking": false}`.', kinds=_CHAT
    )
    add_generation_prompt: bool = parameter(
        True, "Ends the prompt with the start of an assistant message.", kinds=_CHAT
    )
    continue_final_message: bool = parameter(
        False,
        "Continues the last message instead of answering it; needs `add_generation_prompt` false.",
        kinds=_CHAT,
    )
    add_special_tokens: bool | None = parameter(
        None, "Adds the tokenizer's special tokens, e.g. BOS.", unset="true for a prompt"
    )
    documents: Documents | None = parameter(
        None, "Documents for a chat template that knows retrieval.", kinds=_CHAT
    )
    reasoning_effort: ReasoningEffort | None = parameter(
        None, "How much a reasoning model thinks.", kinds=_CHAT, unset="the model's choice"
    )
    include_reasoning: bool = parameter(
        True, "Returns the reasoning beside the answer.", kinds=_CHAT
    )
    suffix: str | None = parameter(
        None, "Text after the gap that the model fills; for models that can.", kinds=_TEXT
    )
    media_io_kwargs: MediaOptions | None = parameter(
        None, "Options for loading media; needs a setting that trusts them.", kinds=_CHAT
    )
    mm_processor_kwargs: dict[str, Any] | None = parameter(
        None, "Options for the media processor; needs a setting that trusts them.", kinds=_CHAT
    )
    return_token_ids: bool = parameter(False, "Returns the tokens' ids beside the text.")
    return_prompt_text: bool = parameter(
        False, "Returns the text that the chat template made of the messages.", kinds=_CHAT
    )
    return_tokens_as_token_ids: bool | None = parameter(
        None, "Log-probabilities name tokens as `token_id:<id>`.", unset="by server setting"
    )
    priority: int | None = parameter(
        None,
        "Order of handling under priority scheduling; lower is earlier.",
        unset="0",
        ge=-(2**63),
        le=2**63 - 1,
    )
    user: str | None = parameter(None, "The end user's name; no effect on the answer.")
    request_id: NonEmpty | None = parameter(None, "Identifier in vLLM's logs.", unset="random")
    session_id: str | None = parameter(None, "Identifier shared by the requests of one session.")
    cache_salt: str | None = parameter(
        None,
        "Secret that keeps other users from sharing this prompt's cache entries.",
        min_length=1,
        max_length=128,
    )
    kv_transfer_params: dict[str, Any] | None = parameter(
        None, "Parameters of a disaggregated deployment's cache transfer."
    )
    ec_transfer_params: dict[str, Any] | None = parameter(
        None, "Parameters of a disaggregated deployment's encoder-cache transfer."
    )
