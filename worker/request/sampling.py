"""Sampling parameters of native requests, each declared once, under vLLM's names unless noted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from worker.metadata import Meta
from worker.request.field import Parameters

EarlyStopping = bool | Literal["never"]
TruncationSide = Literal["left", "right"]
TokenId = Annotated[int, Field(ge=0, le=2**32 - 1)]
NonEmpty = Annotated[str, Field(min_length=1)]
TokenIds = Annotated[list[TokenId], Field(fail_fast=True)]
Texts = Annotated[list[NonEmpty], Field(fail_fast=True)]
ExtraValue = str | int | float | Annotated[list[str | int | float], Field(fail_fast=True)]


class StructuredOutputs(Parameters):
    """Constrains the output to a format; needs exactly one of the first six fields."""

    model_config = ConfigDict(serialize_by_alias=True)

    json_schema: Annotated[dict[str, Any] | str | None, Field(alias="json")] = None
    """JSON Schema of the output, as an object or as text."""
    regex: Annotated[str | None, Field(min_length=1)] = None
    """Regular expression that the output matches."""
    choice: Annotated[list[str], Field(min_length=1, fail_fast=True)] | None = None
    """The output is exactly one of these texts."""
    grammar: Annotated[str | None, Field(min_length=1)] = None
    """Context-free grammar (EBNF) that the output follows."""
    json_object: bool | None = None
    """True makes the output any JSON object."""
    structural_tag: str | None = None
    """Structural tag, as JSON text; constrains only the text between given tags."""
    disable_any_whitespace: bool = False
    """No whitespace between the parts of JSON."""
    disable_additional_properties: bool = False
    """Objects have only the properties that the JSON Schema declares."""
    whitespace_pattern: str | None = None
    """Regular expression for the whitespace between the parts of JSON."""


class RepetitionDetection(Parameters):
    """Ends the generation when the output repeats itself."""

    max_pattern_size: Annotated[int, Meta(unit="tokens"), Field(ge=0)] = 0
    """Longest repeated pattern to detect; 0 disables the detection."""
    min_pattern_size: Annotated[int, Meta(unit="tokens"), Field(ge=0)] = 0
    """Shortest repeated pattern to detect; 0 means 1."""
    min_count: Annotated[int, Meta(unit="repetitions"), Field(ge=0)] = 0
    """Repetitions that end the generation; at least 2."""


class SamplingParameters(Parameters):
    """How tokens are chosen and when the generation ends.

    The worker sends only the parameters of the request, so a default below applies unless the
    model's `generation_config.json` has another value.
    """

    n: Annotated[int, Meta(unit="sequences"), Field(ge=1, le=16_384)] = 1
    """Sequences to return for each prompt."""
    best_of: Annotated[
        int | None, Meta(unit="sequences", vllm_name="n", default_text="n"), Field(ge=1, le=16_384)
    ] = None
    """Sequences to generate for each prompt; the `n` with the highest mean log-probability are
    returned, best first. With beam search it is the beam width. All sequences cost tokens. Not for
    streams."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    """Penalty for tokens that are already in the output; negative values favour them."""
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    """Like `presence_penalty`, multiplied by the number of occurrences of the token."""
    repetition_penalty: Annotated[float, Meta(unit="ratio"), Field(gt=0)] = 1.0
    """Penalty factor for tokens that are already in the prompt or output; above 1 reduces
    repetition, below 1 increases it."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Randomness of sampling; 0 always chooses the most likely token."""
    top_p: Annotated[float, Meta(unit="ratio"), Field(gt=0, le=1)] = 1.0
    """Samples only from the most likely tokens whose probabilities add up to this value; 1 means
    all tokens."""
    top_k: Annotated[int, Meta(unit="tokens"), Field(ge=-1)] = -1
    """Samples only from this number of most likely tokens; -1 and 0 mean all tokens."""
    min_p: Annotated[float, Meta(unit="ratio"), Field(ge=0, le=1)] = 0.0
    """Minimum probability of a token relative to the most likely token; 0 means no limit."""
    use_beam_search: bool = False
    """Searches for the most likely sequences instead of sampling; the beam width is `best_of`, by
    default `n`. Slow, not for streams, and works with only some of the other parameters."""
    length_penalty: float = 1.0
    """Exponent of the length that divides a beam's score; above 1 favours long sequences. Beam
    search only."""
    early_stopping: EarlyStopping = False
    """End of beam search. vLLM always searches to the end, as false and `never` request; true is
    rejected."""
    stop: NonEmpty | Texts | None = None
    """Text, or list of texts, at which the generation ends; not part of the output."""
    stop_token_ids: TokenIds | None = None
    """Tokens at which the generation ends; part of the output unless they are special tokens."""
    ignore_eos: bool = False
    """Continues after the model's end-of-sequence token."""
    max_tokens: Annotated[
        int | None,
        Meta(
            aliases=("max_new_tokens", "max_completion_tokens"),
            unit="tokens",
            setting="DEFAULT_MAX_TOKENS",
        ),
        Field(ge=0),
    ] = None
    """Maximum number of tokens per sequence. If the default ends an answer, `warnings` reports it.
    0 is allowed only with `echo` and a prompt."""
    min_tokens: Annotated[int, Meta(unit="tokens"), Field(ge=0)] = 0
    """Tokens before a stop condition may end the sequence."""
    skip_special_tokens: bool = True
    """Omits special tokens from the output."""
    spaces_between_special_tokens: bool = True
    """Puts spaces between special tokens in the output."""
    include_stop_str_in_output: bool = False
    """Includes the text that ended the generation in the output."""
    seed: Annotated[int | None, Meta(default_text="random"), Field(ge=-(2**63), le=2**63 - 1)] = (
        None
    )
    """Seed that makes sampling repeatable; -1 means no seed."""
    logprobs: Annotated[int | None, Meta(unit="tokens"), Field(ge=-1)] = None
    """Returns log-probabilities of each output token and of this number of most likely tokens; -1
    means the whole vocabulary."""
    prompt_logprobs: Annotated[int | None, Meta(unit="tokens"), Field(ge=-1)] = None
    """The same for the prompt's tokens; not for streams."""
    logprob_token_ids: Annotated[TokenIds | None, Field(max_length=128)] = None
    """Returns the log-probabilities of these tokens; needs `logprobs`."""
    logit_bias: Annotated[dict[str, float], Field(fail_fast=True)] | None = None
    """Maps token ids, as text, to numbers from -100 to 100 that are added to their logits."""
    allowed_token_ids: Annotated[TokenIds | None, Field(min_length=1)] = None
    """The only tokens that may be generated."""
    bad_words: Texts | None = None
    """Texts that may not be generated."""
    structured_outputs: StructuredOutputs | None = None
    """Constrains the output to a format. Also accepted next to `sampling_params`."""
    truncate_prompt_tokens: Annotated[int | None, Meta(unit="tokens"), Field(ge=-1)] = None
    """Truncates the prompt to this number of tokens; -1 means the model's limit."""
    truncation_side: TruncationSide | None = None
    """The side at which `truncate_prompt_tokens` removes tokens."""
    thinking_token_budget: Annotated[int | None, Meta(unit="tokens"), Field(ge=-1)] = None
    """Maximum number of tokens of a reasoning model's reasoning; -1 means no limit."""
    repetition_detection: RepetitionDetection | None = None
    """Ends the generation when the output repeats itself."""
    stream_interval: Annotated[
        int | None, Meta(unit="tokens", default_text="by the worker's load"), Field(ge=1)
    ] = None
    """Tokens in each event of a stream, except the first event, which is sent at once."""
    watermarking: Annotated[bool | None, Meta(default_text="applied if configured")] = None
    """Whether a configured watermark is applied."""
    routed_experts_prompt_start: Annotated[int, Meta(unit="tokens"), Field(ge=0)] = 0
    """Prompt tokens to omit from the routing data of a mixture-of-experts model."""
    extra_args: Annotated[
        Annotated[dict[str, ExtraValue], Field(fail_fast=True)] | None,
        Meta(aliases=("vllm_xargs",), vllm_name="vllm_xargs"),
    ] = None
    """Values for custom sampling code in the image; vLLM itself does not use them."""
