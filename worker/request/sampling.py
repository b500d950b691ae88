"""Sampling parameters of native requests, each declared once; vLLM's names unless noted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from worker.request.field import Parameters, Setting, parameter

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

    json_schema: dict[str, Any] | str | None = parameter(
        None, "JSON Schema, as an object or as text, that the output follows.", alias="json"
    )
    regex: str | None = parameter(None, "Regular expression that the output matches.", min_length=1)
    choice: Annotated[list[str], Field(min_length=1, fail_fast=True)] | None = parameter(
        None, "Texts of which the output is exactly one."
    )
    grammar: str | None = parameter(
        None, "Context-free grammar (EBNF) that the output follows.", min_length=1
    )
    json_object: bool | None = parameter(None, "True: the output is any JSON object.")
    structural_tag: str | None = parameter(
        None, "Structural tag, as JSON text: constrains only what stands between given tags."
    )
    disable_any_whitespace: bool = parameter(False, "No whitespace between the parts of JSON.")
    disable_additional_properties: bool = parameter(
        False, "A JSON schema's objects have no properties beyond the declared ones."
    )
    whitespace_pattern: str | None = parameter(
        None, "Regular expression for the whitespace between the parts of JSON."
    )


class RepetitionDetection(Parameters):
    """Ends the generation when the output repeats itself."""

    max_pattern_size: int = parameter(
        0, "Longest repeated pattern to look for; 0 turns the detection off.", unit="tokens", ge=0
    )
    min_pattern_size: int = parameter(
        0, "Shortest repeated pattern to look for; 0 means 1.", unit="tokens", ge=0
    )
    min_count: int = parameter(
        0, "Repetitions that end the generation; at least 2.", unit="repetitions", ge=0
    )


class SamplingParameters(Parameters):
    """How tokens are chosen and when the generation ends.

    Only what a request names is sent to vLLM, so a default below holds unless the model's own
    `generation_config.json` names another value.
    """

    n: int = parameter(1, "Sequences to return for each prompt.", unit="sequences", ge=1, le=16384)
    best_of: int | None = parameter(
        None,
        "Sequences to generate for each prompt; the `n` with the highest mean log-probability are "
        "returned, best first. With beam search it is the beam width. Costs the tokens of all of "
        "them; not for streams.",
        unit="sequences",
        target="n",
        unset="n",
        ge=1,
        le=16384,
    )
    presence_penalty: float = parameter(
        0.0,
        "Lowers (above 0) or raises (below 0) the chance of tokens that the output already has.",
        ge=-2,
        le=2,
    )
    frequency_penalty: float = parameter(
        0.0,
        "As `presence_penalty`, in proportion to how often the output has the token.",
        ge=-2,
        le=2,
    )
    repetition_penalty: float = parameter(
        1.0,
        "Factor against tokens that prompt or output already have; above 1 avoids repetition, "
        "below 1 invites it.",
        unit="ratio",
        gt=0,
    )
    temperature: float = parameter(
        1.0,
        "Randomness of the choice; 0 always takes the most likely token.",
        ge=0,
        le=2,
    )
    top_p: float = parameter(
        1.0,
        "Only the most likely tokens whose probabilities add up to this are considered; 1 means "
        "all.",
        unit="ratio",
        gt=0,
        le=1,
    )
    top_k: int = parameter(
        -1,
        "Only so many of the most likely tokens are considered; -1 or 0: all.",
        unit="tokens",
        ge=-1,
    )
    min_p: float = parameter(
        0.0,
        "Least probability of a token, relative to the most likely one's; 0 means no limit.",
        unit="ratio",
        ge=0,
        le=1,
    )
    use_beam_search: bool = parameter(
        False,
        "Searches for the most likely sequences instead of sampling; the beam width is `best_of`, "
        "or else `n`. Slow, not for streams, and only with some of the other parameters.",
    )
    length_penalty: float = parameter(
        1.0,
        "Exponent of the length by which a beam's score is divided; above 1 favours long "
        "sequences. Beam search only.",
    )
    early_stopping: EarlyStopping = parameter(
        False,
        "When beam search ends. vLLM searches to the end, which satisfies false and `never`; true "
        "is refused.",
    )
    stop: NonEmpty | Texts | None = parameter(
        None, "Text, or list of texts, at which the generation ends; not part of the output."
    )
    stop_token_ids: TokenIds | None = parameter(
        None,
        "Tokens at which the generation ends; part of the output unless they are special tokens.",
    )
    ignore_eos: bool = parameter(False, "Goes on after the model's end-of-sequence token.")
    max_tokens: int | None = parameter(
        None,
        "Most tokens to generate for each sequence. An answer that the default cut says so in "
        "`warnings`. 0 is allowed only with `echo` and a prompt.",
        unit="tokens",
        unset=Setting("DEFAULT_MAX_TOKENS"),
        aliases=("max_new_tokens", "max_completion_tokens"),
        ge=0,
    )
    min_tokens: int = parameter(
        0, "Tokens before a stop condition may end the sequence.", unit="tokens", ge=0
    )
    skip_special_tokens: bool = parameter(True, "Leaves special tokens out of the output.")
    spaces_between_special_tokens: bool = parameter(
        True, "Puts spaces between special tokens in the output."
    )
    include_stop_str_in_output: bool = parameter(
        False, "Leaves the text that ended the generation in the output."
    )
    seed: int | None = parameter(
        None,
        "Makes the choice repeatable; -1 means none.",
        unset="random",
        ge=-(2**63),
        le=2**63 - 1,
    )
    logprobs: int | None = parameter(
        None,
        "Log-probabilities to return for each output token: the chosen one's and so many of the "
        "most likely; -1 means the whole vocabulary.",
        unit="tokens",
        ge=-1,
    )
    prompt_logprobs: int | None = parameter(
        None,
        "The same for the prompt's tokens; not for streams.",
        unit="tokens",
        ge=-1,
    )
    logprob_token_ids: TokenIds | None = parameter(
        None, "Return the log-probabilities of these tokens; needs `logprobs`.", max_length=128
    )
    logit_bias: Annotated[dict[str, float], Field(fail_fast=True)] | None = parameter(
        None, "Token id (as text) to a number from -100 to 100 that is added to its logit."
    )
    allowed_token_ids: TokenIds | None = parameter(
        None, "The only tokens that may be generated.", min_length=1
    )
    bad_words: Texts | None = parameter(None, "Texts that may not be generated.")
    structured_outputs: StructuredOutputs | None = parameter(
        None, "Constrains the output to a form. May also stand beside `sampling_params`."
    )
    truncate_prompt_tokens: int | None = parameter(
        None,
        "Shortens the prompt to so many tokens; -1 means what the model can take.",
        unit="tokens",
        ge=-1,
    )
    truncation_side: TruncationSide | None = parameter(
        None, "The side at which `truncate_prompt_tokens` cuts."
    )
    thinking_token_budget: int | None = parameter(
        None,
        "Most tokens that a reasoning model may spend on thinking; -1 means no limit.",
        unit="tokens",
        ge=-1,
    )
    repetition_detection: RepetitionDetection | None = parameter(
        None, "Ends the generation when the output repeats itself."
    )
    stream_interval: int | None = parameter(
        None,
        "Tokens in each event of a stream after the first, which comes at once.",
        unit="tokens",
        unset="by the worker's load",
        ge=1,
    )
    watermarking: bool | None = parameter(
        None, "Whether a configured watermark is applied.", unset="applied if configured"
    )
    routed_experts_prompt_start: int = parameter(
        0,
        "Prompt tokens to leave out of the routing data that a mixture-of-experts model returns.",
        unit="tokens",
        ge=0,
    )
    extra_args: Annotated[dict[str, ExtraValue], Field(fail_fast=True)] | None = parameter(
        None,
        "Values for custom sampling code of the image; vLLM itself uses none.",
        target="vllm_xargs",
        aliases=("vllm_xargs",),
    )
