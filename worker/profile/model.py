"""The schema of a profile: settings, and facts of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from worker.profile.attention import AnyAttention
from worker.profile.lora import AdapterWidths
from worker.profile.pools import PoolName

UNCONFIRMED = "unconfirmed"
"""Source of facts that could not be verified."""

CUDA = "13.0"
"""CUDA version of the image, as in the image of the pinned vLLM."""

Task = Literal["generate", "embed", "rerank", "transcribe"]
Precision = Literal["bf16", "fp16", "fp32", "fp8", "int8", "int4", "mxfp4", "nvfp4"]


class Part(BaseModel):
    """Base class of the models in a profile."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _default_kind(value: Any) -> Any:
    """Make full attention the default kind."""
    return {"kind": "full", **value} if isinstance(value, Mapping) else value


class Facts(Part):
    """Facts of a model that share one source."""

    source: str = Field(
        min_length=1,
        description="Source of these facts: a page, a file at a commit, or the computation. "
        "`unconfirmed` marks facts without a source.",
    )
    architecture: str | None = Field(
        None, description="Architecture, as the model's configuration and vLLM name it."
    )
    parameters: int | None = Field(None, ge=1, description="All parameters, count.")
    active_parameters: int | None = Field(
        None, ge=1, description="Parameters that are active for one token, count."
    )
    weight_bytes: int | None = Field(
        None, ge=1, description="Weights of `model_name` as they are loaded, bytes."
    )
    encoder_bytes: int | None = Field(
        None,
        ge=1,
        description="Weights of the image and audio encoders, bytes; LANGUAGE_MODEL_ONLY omits "
        "them.",
    )
    context: int | None = Field(
        None, ge=1, description="Maximum context length of the model, tokens."
    )
    attention: tuple[Annotated[AnyAttention, BeforeValidator(_default_kind)], ...] | None = Field(
        None,
        description="Layers by kind of attention; empty for a model without a KV cache.",
    )
    adapter_widths: AdapterWidths | None = Field(
        None,
        description="Inputs and outputs of the layers that take LoRA adapters; unset, estimated "
        "for a dense model.",
    )
    licence: str | None = Field(None, description="Licence of the weights.")
    gated: bool | None = Field(
        None, description="Whether downloading needs an account that accepted the licence."
    )

    def given(self) -> Iterator[tuple[str, Any]]:
        """Yield the name and value of each fact of this source."""
        for name in FACTS:
            value = getattr(self, name)
            if value is not None:
                yield name, value


FACTS = tuple(name for name in Facts.model_fields if name != "source")
"""Names of all facts, in the order of the pages."""


class SourcedFact(Part):
    """One fact with its source."""

    value: Any = Field(description="The fact.")
    source: str = Field(description="Source of the fact.")

    @property
    def confirmed(self) -> bool:
        """Whether the source can be looked up."""
        return self.source != UNCONFIRMED


class Variant(Part):
    """Another repository with the same model: quantised, or under another name."""

    model: str = Field(min_length=1, description="Repository id.")
    precision: Precision = Field("bf16", description="How the weights are stored.")
    weight_bytes: int | None = Field(
        None, ge=1, description="Weights as they are loaded, bytes; unset, estimated."
    )
    source: str = Field(UNCONFIRMED, description="Source.")


class Speculation(Part):
    """Speculative decoding: vLLM's options, and the memory of the draft model."""

    config: Mapping[str, Any] = Field(
        {}, description="vLLM's `speculative_config`, as SPECULATION=on sets it."
    )
    weight_bytes: int = Field(
        0, ge=0, description="Weights of the draft as they are loaded, bytes; none for n-grams."
    )
    attention: tuple[Annotated[AnyAttention, BeforeValidator(_default_kind)], ...] = Field(
        (), description="Layers of the draft model, by kind."
    )
    source: str = Field(UNCONFIRMED, description="Source.")


class RecommendedHardware(Part):
    """Hardware that the profile recommends."""

    gpus: int = Field(1, ge=1, le=8, description="GPUs of one worker, count.")
    memory_gib: float | None = Field(
        None, gt=0, le=1024, description="Minimum memory of each GPU, GiB."
    )
    pools: tuple[PoolName, ...] = Field((), description="RunPod GPU pools, the cheapest first.")
    cuda: str = Field(
        CUDA, pattern=r"^\d+\.\d+$", description="Minimum CUDA version of the host's driver."
    )


class Checked(Part):
    """A test of the profile on real hardware."""

    what: str = Field(min_length=1, description="The test and its result.")
    where: str = Field(min_length=1, description="Machine and vLLM release.")


class ModelInfo(Part):
    """Description of a profile; contains no settings."""

    title: str = Field("", description="Display name of the model.")
    summary: str = Field("", description="Purpose of the model, one sentence.")
    task: Task = Field("generate", description="What the model does.")
    precision: Precision = Field("bf16", description="How `model_name` stores its weights.")
    matches: tuple[str, ...] = Field(
        (), description="Other repository ids that select this profile; `*` is a wildcard."
    )
    variants: tuple[Variant, ...] = Field(
        (), description="Repositories with the same model in another precision."
    )
    hardware: RecommendedHardware = Field(
        RecommendedHardware(), description="Recommended hardware."
    )
    speculation: Speculation | None = Field(
        None, description="Preset for SPECULATION=on, which is rejected without one."
    )
    facts: tuple[Facts, ...] = Field((), description="Facts of the model, by source.")
    checked: tuple[Checked, ...] = Field((), description="Tests on real hardware.")
    notes: tuple[str, ...] = Field((), description="What a user should know.")

    def fact(self, name: str) -> SourcedFact | None:
        """Return one fact from the last source that has it; None if it is not known."""
        for facts in reversed(self.facts):
            value = getattr(facts, name)
            if value is not None:
                return SourcedFact(value=value, source=facts.source)
        return None


class Profile(Part):
    """One profile, with what it inherits.

    Attributes:
        name: File name without its ending.
        settings: Its settings, by the keys of configuration files.
        about: Its description.
        origins: Name of the profile that sets each setting, by its key.
    """

    name: str
    settings: Mapping[str, Any]
    about: ModelInfo
    origins: Mapping[str, str]

    @property
    def model(self) -> str | None:
        """The model that is served if no other one is set."""
        value = self.settings.get("model_name")
        return None if value is None else str(value)
