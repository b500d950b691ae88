"""Shapes of a job's input, each declared once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from worker.metadata import Meta
from worker.request.field import InputMode, Parameters
from worker.request.sampling import NonEmpty, SamplingParameters, StructuredOutputs, TokenId

_MESSAGES: tuple[InputMode, ...] = ("messages",)
_PROMPT: tuple[InputMode, ...] = ("prompt",)

# fail_fast: pydantic creates an error for each problem; validation.py finds those of the same kind.
Tokens = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
Texts = Annotated[list[NonEmpty], Field(min_length=1, fail_fast=True)]
TokenLists = Annotated[list[Tokens], Field(min_length=1, fail_fast=True)]
Objects = Annotated[list[dict[str, Any]], Field(min_length=1, fail_fast=True)]
Document = Annotated[dict[str, str], Field(fail_fast=True)]
Documents = Annotated[list[Document], Field(fail_fast=True)]
MediaOptions = Annotated[dict[str, dict[str, Any]], Field(fail_fast=True)]

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class BatchingInput(Parameters):
    """Sizes of the chunks of a streamed answer; part of every shape."""

    max_batch_size: Annotated[
        int | None, Meta(unit="tokens", setting="DEFAULT_BATCH_SIZE"), Field(ge=0, le=100_000)
    ] = None
    """Maximum number of tokens in one chunk of a streamed answer; 0 means the setting."""
    min_batch_size: Annotated[
        int | None, Meta(unit="tokens", setting="DEFAULT_MIN_BATCH_SIZE"), Field(ge=0, le=100_000)
    ] = None
    """Tokens in the first chunk of a streamed answer; 0 means the setting."""
    batch_size_growth_factor: Annotated[
        float | None,
        Meta(unit="ratio", setting="DEFAULT_BATCH_SIZE_GROWTH_FACTOR"),
        Field(ge=0, le=1000),
    ] = None
    """Factor by which each chunk may be larger than the previous one, up to `max_batch_size`."""


class GatewayInput(BatchingInput):
    """Job that RunPod's OpenAI gateway creates from a request to `/openai/v1/…`."""

    # The platform may add fields; rejecting them would reject every request.
    model_config = ConfigDict(extra="ignore")

    openai_route: Annotated[str, Field(min_length=1)]
    """Route, with or without `/v1`, e.g. `/v1/chat/completions`."""
    openai_input: dict[str, Any] | str | None = None
    """The client's JSON body; absent for GET."""
    method: Annotated[str | None, Meta(default_text="by route and body")] = None
    """HTTP method."""


class RouteInput(BatchingInput):
    """Any route of vLLM, called by name."""

    route: Annotated[str, Field(min_length=1)]
    """Route, e.g. `/tokenize`."""
    method: Annotated[str | None, Meta(default_text="by route and body")] = None
    """HTTP method."""
    body: dict[str, Any] | None = None
    """JSON body; absent for GET."""


MAX_CUSTOM_ID = 512
"""Characters of a `custom_id`; every error of its line repeats it."""


class BatchLineInput(Parameters):
    """A line of OpenAI's batch format; the answer is a line of its output file."""

    custom_id: Annotated[str, Field(min_length=1, max_length=MAX_CUSTOM_ID)]
    """Identifier of the line; the answer and every error repeat it."""
    url: Annotated[str, Field(min_length=1)]
    """Route, e.g. `/v1/chat/completions`."""
    method: Annotated[str | None, Meta(default_text="by route and body")] = None
    """HTTP method."""
    body: dict[str, Any] | None = None
    """JSON body."""


class NativeInput(BatchingInput):
    """The worker's own shape: a prompt or messages, and sampling parameters."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["prompt"]}, {"required": ["messages"]}]}
    )

    prompt: Annotated[NonEmpty | Tokens | Texts | TokenLists | None, Meta(input_modes=_PROMPT)] = (
        None
    )
    """Text to continue, its token ids, or a list of either."""
    messages: Annotated[NonEmpty | Objects | None, Meta(input_modes=_MESSAGES)] = None
    """Conversation for the model's chat template; a plain text is one user message. Overrides
    `prompt`. The content may be a list of parts: text, image_url, …"""
    apply_chat_template: Annotated[bool, Meta(input_modes=_PROMPT)] = False
    """Treats `prompt` as one user message."""
    sampling_params: SamplingParameters = SamplingParameters()
    """Sampling parameters; see their table."""
    stream: bool = False
    """Sends the answer in chunks while it is generated."""
    model: Annotated[NonEmpty | None, Meta(default_text="the served model")] = None
    """Served model or LoRA adapter that answers."""
    structured_outputs: StructuredOutputs | None = None
    """Constrains the output to a format; the same as in `sampling_params`."""
    response_format: dict[str, Any] | None = None
    """A constraint in OpenAI's format, e.g. `{"type": "json_object"}`."""
    echo: bool = False
    """Prepends the prompt, or the last message of the same role, to the output."""
    tools: Annotated[Objects | None, Meta(input_modes=_MESSAGES)] = None
    """Functions that the model may call, in OpenAI's format."""
    tool_choice: Annotated[
        str | dict[str, Any] | None, Meta(input_modes=_MESSAGES, default_text="`auto` with tools")
    ] = None
    """`none`, `auto`, `required` or one named function."""
    parallel_tool_calls: Annotated[bool, Meta(input_modes=_MESSAGES)] = True
    """Allows more than one tool call in an answer."""
    chat_template: Annotated[
        str | None, Meta(input_modes=_MESSAGES, default_text="the model's")
    ] = None
    """Jinja template for this request; needs a setting that trusts it."""
    chat_template_kwargs: Annotated[dict[str, Any] | None, Meta(input_modes=_MESSAGES)] = None
    """Variables for the chat template, e.g. `{"enable_thinking": false}`."""
    add_generation_prompt: Annotated[bool, Meta(input_modes=_MESSAGES)] = True
    """Ends the prompt with the start of an assistant message."""
    continue_final_message: Annotated[bool, Meta(input_modes=_MESSAGES)] = False
    """Continues the last message instead of answering it; needs `add_generation_prompt: false`."""
    add_special_tokens: Annotated[bool | None, Meta(default_text="true for a prompt")] = None
    """Adds the tokenizer's special tokens, e.g. BOS."""
    documents: Annotated[Documents | None, Meta(input_modes=_MESSAGES)] = None
    """Documents for a chat template that supports retrieval."""
    reasoning_effort: Annotated[
        ReasoningEffort | None, Meta(input_modes=_MESSAGES, default_text="the model's choice")
    ] = None
    """Amount of reasoning of a reasoning model."""
    include_reasoning: Annotated[bool, Meta(input_modes=_MESSAGES)] = True
    """Returns the reasoning in addition to the answer."""
    suffix: Annotated[str | None, Meta(input_modes=_PROMPT)] = None
    """Text after the gap to fill; for models that support it."""
    media_io_kwargs: Annotated[MediaOptions | None, Meta(input_modes=_MESSAGES)] = None
    """Options for loading media; needs a setting that trusts them."""
    mm_processor_kwargs: Annotated[dict[str, Any] | None, Meta(input_modes=_MESSAGES)] = None
    """Options for the media processor; needs a setting that trusts them."""
    return_token_ids: bool = False
    """Returns the token ids in addition to the text."""
    return_prompt_text: Annotated[bool, Meta(input_modes=_MESSAGES)] = False
    """Returns the prompt that the chat template created from the messages."""
    return_tokens_as_token_ids: Annotated[bool | None, Meta(default_text="by server setting")] = (
        None
    )
    """Represents tokens as `token_id:<id>` in log-probabilities."""
    priority: Annotated[int | None, Meta(default_text="0"), Field(ge=-(2**63), le=2**63 - 1)] = None
    """Priority of the request under priority scheduling; lower is earlier."""
    user: str | None = None
    """Name of the end user; does not affect the answer."""
    request_id: Annotated[NonEmpty | None, Meta(default_text="random")] = None
    """Identifier in vLLM's logs."""
    session_id: str | None = None
    """Identifier shared by the requests of one session."""
    cache_salt: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    """Secret that prevents other users from sharing this prompt's cache entries."""
    kv_transfer_params: dict[str, Any] | None = None
    """Parameters of a disaggregated deployment's cache transfer."""
    ec_transfer_params: dict[str, Any] | None = None
    """Parameters of a disaggregated deployment's encoder-cache transfer."""
