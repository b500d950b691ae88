"""Whether the configured model fits the visible GPUs, from the facts of its profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worker.errors import Problem
from worker.models.name import served_model_name
from worker.profile import PROFILES, ModelInfo, Profile, Speculation, find_profile, find_variant
from worker.profile.lora import AdapterSlots, AdapterWidths, estimate_widths
from worker.profile.memory import (
    BATCHED_TOKENS,
    GIB,
    Fit,
    Layout,
    Model,
    compute_fit,
    estimate_weights,
    kv_element_bytes,
)
from worker.settings.settings import Settings
from worker.settings.values import Values

ANCHOR = "profiles.md#does-it-fit"


@dataclass(frozen=True, slots=True)
class MemoryRequirement:
    """What a configuration requires of each GPU.

    Attributes:
        profile: Whose facts these are.
        model: The facts that count.
        layout: How the model is spread.
        utilization: Share of a GPU that vLLM may use.
        context: Context to serve, tokens; None: the longest that fits.
        estimated: Whether the weights' size is estimated.
        precision: How the weights are stored.
        unconfirmed: Names of the facts used that have no public source.
        draft: What speculative decoding adds; it is counted in `model`.
        left_out: Weights of encoders that are not loaded, bytes; they are not counted in `model`.
        uncounted_adapters: Whether room for adapters is needed but its size is not known.
    """

    profile: Profile
    model: Model
    layout: Layout
    utilization: float
    context: int | None
    estimated: bool
    precision: str
    unconfirmed: tuple[str, ...] = ()
    draft: Speculation | None = None
    left_out: int = 0
    uncounted_adapters: bool = False

    def fit(self, gpu_bytes: int) -> Fit:
        """Return how it fits GPUs of `gpu_bytes` each."""
        return compute_fit(self.model, gpu_bytes, self.utilization, self.context, self.layout)


def memory_requirement(
    values: Values, profile: Profile | None, profiles: Path
) -> MemoryRequirement | None:
    """Return the GPU memory that the configuration requires; None for an unknown model.

    Args:
        values: The resolved values.
        profile: The profile that was read; its facts count if they are of this model.
        profiles: The built-in profiles, for a model that no profile was read for.
    """
    model = str(values.get("model"))
    name = served_model_name(model)
    # A user's own profile may name a folder, which has no repository id to search for.
    is_own = profile is not None and profile.model == model
    known = profile if is_own else find_profile(name, profile, profiles)
    if known is None:
        return None
    attention, context = known.about.fact("attention"), known.about.fact("context")
    weights = _weights(name, known, values)
    if attention is None or context is None or weights is None:
        return None
    weight_bytes, precision, estimated = weights
    encoders = known.about.fact("encoder_bytes")
    left_out = encoders.value if encoders and values.get("language_model_only") else 0
    weight_bytes -= left_out
    draft, draft_tokens = _draft(known, values)
    layers = attention.value
    if draft is not None:
        weight_bytes, layers = weight_bytes + draft.weight_bytes, (*layers, *draft.attention)
    adapters = _adapters(known, values)
    asked = values.get("max_model_len")
    return MemoryRequirement(
        profile=known,
        model=Model(weight_bytes, layers, context.value, adapters),
        layout=Layout(
            tensor_parallel=values.get("tensor_parallel_size") or 1,
            pipeline_parallel=values.get("pipeline_parallel_size") or 1,
            kv_bytes=kv_element_bytes(values.get("kv_cache_dtype")),
            batched_tokens=values.get("max_num_batched_tokens") or BATCHED_TOKENS,
            draft_tokens=draft_tokens,
        ),
        utilization=values.get("gpu_memory_utilization"),
        context=None if asked in ("auto", -1) else asked or context.value,
        estimated=estimated,
        precision=precision,
        unconfirmed=_unconfirmed(known),
        draft=draft,
        left_out=left_out,
        uncounted_adapters=bool(values.get("enable_lora")) and adapters is None,
    )


USED_FACTS = ("architecture", "weight_bytes", "context", "attention")
"""Facts that decide whether a start succeeds."""


def _unconfirmed(profile: Profile) -> tuple[str, ...]:
    facts = {name: profile.about.fact(name) for name in USED_FACTS}
    return tuple(name for name, fact in facts.items() if fact is not None and not fact.confirmed)


def _draft(profile: Profile, values: Values) -> tuple[Speculation | None, int]:
    """Return the profile's preset if it is in use, and the number of speculative tokens."""
    config = values.get("speculative_config") or {}
    tokens = config.get("num_speculative_tokens") or 0
    preset = profile.about.speculation
    is_preset = preset is not None and all(
        preset.config.get(key) == config.get(key) for key in ("method", "model")
    )
    return (preset if config and is_preset else None), int(tokens)


def _adapters(profile: Profile, values: Values) -> AdapterSlots | None:
    """Return the room for adapters; None without them, or for experts of unknown number."""
    if not values.get("enable_lora"):
        return None
    about = profile.about
    widths = about.fact("adapter_widths")
    counted = _estimate_widths(about) if widths is None else widths.value
    if counted is None:
        return None
    return AdapterSlots(
        widths=counted,
        slots=values.get("max_loras") or 1,
        rank=values.get("max_lora_rank") or 16,
        sharded=bool(values.get("fully_sharded_loras")),
        estimated=widths is None,
    )


def _estimate_widths(about: ModelInfo) -> AdapterWidths | None:
    parameters, attention = about.fact("parameters"), about.fact("attention")
    if about.fact("active_parameters") or parameters is None or attention is None:
        return None
    layers = sum(part.layers for part in attention.value)
    encoders = about.fact("encoder_bytes")
    dense = parameters.value - (encoders.value // 2 if encoders else 0)
    return estimate_widths(dense, layers) if layers else None


def _weights(name: str, profile: Profile, values: Values) -> tuple[int, str, bool] | None:
    """Return size and precision of the weights, and whether the size is an estimate."""
    variant = find_variant(profile, name)
    fact = profile.about.fact("weight_bytes")
    quantized = values.get("quantization") if variant is None else None
    if quantized is None and variant is None and fact is not None:
        return fact.value, profile.about.precision, not fact.confirmed
    if variant is not None and variant.weight_bytes is not None:
        return variant.weight_bytes, variant.precision, False
    parameters = profile.about.fact("parameters")
    if parameters is None:
        return None
    precision = variant.precision if variant is not None else _online(str(quantized))
    if precision is None:
        return None if fact is None else (fact.value, profile.about.precision, True)
    return estimate_weights(parameters.value, precision), precision, True


def _online(quantization: str) -> str | None:
    """Return the precision of weights that vLLM quantises at load."""
    return "fp8" if quantization.startswith("fp8") else None


def check_capacity(settings: Settings, profiles: Path = PROFILES) -> list[Problem]:
    """Return a warning if the model cannot fit the visible GPUs.

    Args:
        settings: The settings, with the machine that they are for.
        profiles: The built-in profiles, for a model that no profile was read for.
    """
    values, gpus = settings.values, settings.machine.gpu_bytes
    # An explicit cache size or weights outside the GPU are the user's choice.
    overridden = any(values.get(key) for key in ("kv_cache_memory_bytes", "cpu_offload_gb"))
    if not gpus or overridden:
        return []
    requirement = memory_requirement(values, settings.profile, profiles)
    if requirement is None:
        return []
    fit = requirement.fit(gpus)
    if fit.fits:
        return []
    weights = f"{fit.weight_bytes / GIB:.1f} GiB of weights"
    if fit.adapter_bytes:
        weights += f" and {fit.adapter_bytes / GIB:.1f} GiB for LoRA adapters"
    usable = f"{fit.usable_bytes / GIB:.1f} GiB that vLLM may use"
    if fit.cache_bytes <= 0:
        key, message = "model", f"cannot fit: {weights} for each GPU, of {usable}"
    else:
        key = "max_model_len"
        message = (
            f"a request of {fit.context} tokens cannot fit: it takes "
            f"{fit.request_bytes / GIB:.1f} GiB, and about {fit.cache_bytes / GIB:.1f} GiB remain "
            f"next to {weights}, of {usable}"
        )
    expected = f"at most {fit.longest} tokens" if fit.longest else None
    problem = values.problem(key, message, expected)
    advice = f"{problem.message}; run `worker fit` for changes that make it fit"
    return [Problem(problem.where, advice, None, expected, anchor=ANCHOR)]
