"""Sampling parameters of native requests, each declared once; vLLM's names unless noted."""

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
    """Constrains the output to a form; exactly one of the first six fields."""

    model_config = ConfigDict(serialize_by_alias=True)

    json_schema: Annotated[dict[str, Any] | str | None, Field(alias="json")] = None
    """JSON Schema, as an object or as text, that the output follows."""
    regex: Annotated[str | None, Field(min_length=1)] = None
    """Regular expression that the output matches."""
    choice: Annotated[list[str], Field(min_length=1, fail_fast=True)] | None = None
    """Texts of which the output is exactly one."""
    grammar: Annotated[str | None, Field(min_length=1)] = None
    """Context-free grammar (EBNF) that the output follows."""
    json_object: bool | None = None
    """True: the output is any JSON object."""
    structural_tag: str | None = None
    """Structural tag, as JSON text: constrains only what stands between given tags."""
    disable_any_whitespace: bool = False
    """No whitespace between the parts of JSON."""
    disable_additional_properties: bool = False
    """A JSON schema's objects have no properties beyond the declared ones."""
    whitespace_pattern: str | None = None
    """Regular expression for the whitespace between the parts of JSON."""


class RepetitionDetection(Parameters):
    """Ends the generation when the output repeats itself."""

    max_pattern_size: Annotated[int, Meta(unit="tokens"), Field(ge=0)] = 0
    """Longest repeated pattern to look for; 0 turns the detection off."""
    min_pattern_size: Annotated[int, Meta(unit="tokens"), Field(ge=0)] = 0
    """Shortest repeated pattern to look for; 0 means 1."""
    min_count: Annotated[int, Meta(unit="repetitions"), Field(ge=0)] = 0
    """Repetitions that end the generation; at least 2."""


class SamplingParameters(Parameters):
    """How tokens are chosen and when the generation ends.

    Only what a request names is sent to vLLM, so a default below holds unless the model's own
    `generation_config.json` names another value.
    """

    n: Annotated[int, Meta(unit="sequences"), Field(ge=1, le=16_384)] = 1
    """Sequences to return for each prompt."""
    best_of: Annotated[
        int | None, Meta(unit="sequences", vllm_name="n", default_text="n"), Field(ge=1, le=16_384)
    ] = None
    """Sequences to generate for each prompt; the `n` with the highest mean log-probability are
    returned, best first. With beam search it is the beam width. Costs the tokens of all of them;
    not for streams."""
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    """Lowers (above 0) or raises (below 0) the chance of tokens that the output already has."""
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    """As `presence_penalty`, in proportion to how often the output has the token."""
    repetition_penalty: Annotated[float, Meta(unit="ratio"), Field(gt=0)] = 1.0
    """Factor against tokens that prompt or output already have; above 1 avoids repetition, below 1
    invites it."""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    """Randomness of the choice; 0 always takes the most likely token."""
    top_p: Annotated[float, Meta(unit="ratio"), Field(gt=0, le=1)] = 1.0
    """Only the most likely tokens whose probabilities add up to this are considered; 1 means
    all."""
    top_k: Annotated[int, Meta(unit="tokens"), Field(ge=-1)] = -1
    """Only so many of the most likely tokens are considered; -1 or 0: all."""
    min_p: Annotated[float, Meta(unit="ratio"), Field(ge=0, le=1)] = 0.0
    """Least probability of a token, relative to the most likely one's; 0 means no limit."""
    use_beam_search: bool = False
    """Searches for the most likely sequences instead of sampling; the beam width is `best_of`, or
    else `n`. Slow, not for streams, and only with some of the other parameters."""
    length_penalty: float = 1.0
    """Exponent of the length by which a beam's score is divided; above 1 favours long sequences.
    Beam search only."""
    early_stopping: EarlyStopping = False
    """When beam search ends. vLLM searches to the end, which satisfies false and `never`; true is
    refused."""
    stop: NonEmpty | Texts | None = None
    """Text, or list of texts, at which the generation ends; not part of the output."""
    stop_token_ids: TokenIds | None = None
    """Tokens at which the generation ends; part of the output unless they are special tokens."""
    ignore_eos: bool = False
    """Goes on after the model's end-of-sequence token."""
    max_tokens: Annotated[
        int | None,
        Meta(
            aliases=("max_new_tokens", "max_completion_tokens"),
            unit="tokens",
            setting="DEFAULT_MAX_TOKENS",
        ),
        Field(ge=0),
    ] = None
    """Most tokens to generate for each sequence. An answer that the default cut says so in
    `warnings`. 0 is allowed only with `echo` and a prompt."""
    min_tokens: Annotated[int, Meta(unit="tokens"), Field(ge=0)] = 0
    """Tokens before a stop condition may end the sequence."""
    skip_special_tokens: bool = True
    """Leaves special tokens out of the output."""
    spaces_between_special_tokens: bool = True
    """Puts spaces between special tokens in the output."""
    include_stop_str_in_output: bool = False
    """Leaves the text that ended the generation in the output."""
    seed: Annotated[int | None, Meta(default_text="random"), Field(ge=-(2**63), le=2**63 - 1)] = (
        None
    )
    """Makes the choice repeatable; -1 means none."""
    logprobs: Annotated[int | None, Meta(unit="tokens"), Field(ge=-1)] = None
    """Log-probabilities to return for each output token: the chosen one's and so many of the most
    likely; -1 means the whole vocabulary."""
    prompt_logprobs: Annotated[int | None, Meta(unit="tokens"), Field(ge=-1)] = None
    """The same for the prompt's tokens; not for streams."""
    logprob_token_ids: Annotated[TokenIds | None, Field(max_length=128)] = None
    """Return the log-probabilities of these tokens; needs `logprobs`."""
    logit_bias: Annotated[dict[str, float], Field(fail_fast=True)] | None = None
    """Token id (as text) to a number from -100 to 100 that is added to its logit."""
    allowed_token_ids: Annotated[TokenIds | None, Field(min_length=1)] = None
    """The only tokens that may be generated."""
    bad_words: Texts | None = None
    """Texts that may not be generated."""
    structured_outputs: StructuredOutputs | None = None
    """Constrains the output to a form. May also stand beside `sampling_params`."""
    truncate_prompt_tokens: Annotated[int | None, Meta(unit="tokens"), Field(ge=-1)] = None
    """Shortens the prompt to so many tokens; -1 means what the model can take."""
    truncation_side: TruncationSide | None = None
    """The side at which `truncate_prompt_tokens` cuts."""
    thinking_token_budget: Annotated[int | None, Meta(unit="tokens"), Field(ge=-1)] = None
    """Most tokens that a reasoning model may spend on thinking; -1 means no limit."""
    repetition_detection: RepetitionDetection | None = None
    """Ends the generation when the output repeats itself."""
    stream_interval: Annotated[
        int | None, Meta(unit="tokens", default_text="by the worker's load"), Field(ge=1)
    ] = None
    """Tokens in each event of a stream after the first, which comes at once."""
    watermarking: Annotated[bool | None, Meta(default_text="applied if configured")] = None
    """Whether a configured watermark is applied."""
    routed_experts_prompt_start: Annotated[int, Meta(unit="tokens"), Field(ge=0)] = 0
    """Prompt tokens to leave out of the routing data that a mixture-of-experts model returns."""
    extra_args: Annotated[
        Annotated[dict[str, ExtraValue], Field(fail_fast=True)] | None,
        Meta(aliases=("vllm_xargs",), vllm_name="vllm_xargs"),
    ] = None
    """Values for custom sampling code of the image; vLLM itself uses none."""
