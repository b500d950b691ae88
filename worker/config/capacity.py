"""Whether the configured model fits the GPUs that are seen, from the facts of its profile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worker.config.identity import public_name
from worker.config.rules import View
from worker.errors import Problem
from worker.profile import BrokenProfileError, Profile, find_by_model, find_variant
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

ANCHOR = "profiles.md#does-it-fit"


@dataclass(frozen=True, slots=True)
class Demand:
    """What a configuration asks of each GPU.

    Attributes:
        profile: Whose facts these are.
        model: The facts that count.
        layout: How the model is spread.
        utilization: Share of a GPU that vLLM may use.
        context: Context to serve, tokens; None: the longest that fits.
        estimated: Whether the weights' size is an estimate and no fact.
        precision: How the weights are stored.
    """

    profile: Profile
    model: Model
    layout: Layout
    utilization: float
    context: int | None
    estimated: bool
    precision: str

    def fit(self, gpu_bytes: int) -> Fit:
        """Return how it fits GPUs of `gpu_bytes` each."""
        return compute_fit(self.model, gpu_bytes, self.utilization, self.context, self.layout)


def find_demand(view: View, profile: Profile | None, profiles: Path) -> Demand | None:
    """Return what the configuration asks of a GPU; None when too little is known of the model.

    Args:
        view: The resolved values.
        profile: The profile that was read; its facts count if they are of this model.
        profiles: The built-in profiles, for a model that no profile was read for.
    """
    name = public_name(str(view.get("model")))
    known = find_profile(name, profile, profiles)
    if known is None:
        return None
    attention, context = known.about.fact("attention"), known.about.fact("context")
    weights = _weights(name, known, view)
    if attention is None or context is None or weights is None:
        return None
    weight_bytes, precision, estimated = weights
    asked = view.get("max_model_len")
    automatic = asked == "auto" or asked == -1
    return Demand(
        profile=known,
        model=Model(weight_bytes, attention.value, context.value),
        layout=Layout(
            tensor_parallel=view.get("tensor_parallel_size") or 1,
            pipeline_parallel=view.get("pipeline_parallel_size") or 1,
            kv_bytes=kv_element_bytes(view.get("kv_cache_dtype")),
            batched_tokens=view.get("max_num_batched_tokens") or BATCHED_TOKENS,
        ),
        utilization=view.get("gpu_memory_utilization"),
        context=None if automatic else asked or context.value,
        estimated=estimated,
        precision=precision,
    )


def find_profile(name: str, profile: Profile | None, profiles: Path) -> Profile | None:
    """Return the profile whose facts are of a model; None when nothing is known of it.

    Args:
        name: The model's repository id.
        profile: The profile that was read.
        profiles: The built-in profiles.
    """
    if profile is not None:
        ids = (profile.model or "", *profile.about.matches)
        if name.lower() in map(str.lower, ids) or find_variant(profile, name) is not None:
            return profile
    try:
        return find_by_model(name, profiles)
    except BrokenProfileError:
        return None


def _weights(name: str, profile: Profile, view: View) -> tuple[int, str, bool] | None:
    """Return size and precision of the weights, and whether the size is an estimate."""
    variant = find_variant(profile, name)
    fact = profile.about.fact("weight_bytes")
    quantized = view.get("quantization") if variant is None else None
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
    """Return the precision of weights that vLLM itself quantises while it loads them."""
    return "fp8" if quantization.startswith("fp8") else None


def check_capacity(view: View, profile: Profile | None, profiles: Path) -> list[Problem]:
    """Return a warning when the model cannot fit the GPUs that are seen."""
    gpus = view.machine.gpu_bytes
    # A size that somebody set, and weights outside the GPU, are their own business.
    overridden = any(view.get(key) for key in ("kv_cache_memory_bytes", "cpu_offload_gb"))
    if not gpus or overridden:
        return []
    demand = find_demand(view, profile, profiles)
    if demand is None:
        return []
    fit = demand.fit(gpus)
    if fit.fits:
        return []
    weights = f"{fit.weight_bytes / GIB:.1f} GiB of weights"
    usable = f"{fit.usable_bytes / GIB:.1f} GiB that vLLM may use"
    if fit.cache_bytes <= 0:
        key, message = "model", f"cannot fit: {weights} for each GPU, of {usable}"
    else:
        key = "max_model_len"
        message = (
            f"a request of {fit.context} tokens cannot fit: it takes "
            f"{fit.request_bytes / GIB:.1f} GiB, and about {fit.cache_bytes / GIB:.1f} GiB remain "
            f"beside {weights}, of {usable}"
        )
    expected = f"at most {fit.longest} tokens" if fit.longest else None
    problem = view.problem(key, message, expected)
    advice = f"{problem.message}; `worker fit` says what to change"
    return [Problem(problem.where, advice, None, expected, anchor=ANCHOR)]
