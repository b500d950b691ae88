"""Pages of profiles, their list, and the list of supported models."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from worker.machine import GIB, MachineInfo
from worker.profile import PROFILES, Profile, builtin_folder, load_all
from worker.profile.memory import RESERVE_BYTES, RESERVE_SHARE
from worker.profile.model import UNCONFIRMED
from worker.profile.pools import POOLS, PRICES_SOURCE, SLICES, SLICES_SOURCE, find_pool
from worker.settings.load import load_settings
from worker.settings.registry import OptionRegistry
from worker.settings.settings import Settings
from worker.sizing import formatting
from worker.sizing.listing import facts_of, unknown_facts
from worker.sizing.placement import Placement, cheapest, place_all, place_on
from worker.sizing.target import SizingTarget, load_target
from worker.vllm_options.schema import read_schema
from worker_tools.deploy.options import IMAGE
from worker_tools.render.markdown import render_template

FOLDER = "docs/profiles"
TASKS = {
    "generate": "Chat and generation",
    "embed": "Embeddings",
    "rerank": "Reranking",
    "transcribe": "Speech to text",
}
"""Headings of the table of profiles, by task."""


@dataclass(frozen=True, slots=True)
class ResolvedProfile:
    """A profile with its configuration and its placements on RunPod's GPUs.

    Attributes:
        profile: The profile.
        settings: Its configuration on its own hardware.
        target: The configuration and the memory that it requires.
        placements: How it fits its own pools.
        best: The cheapest placement on any pool; None if its memory is not known or nothing fits.
    """

    profile: Profile
    settings: Settings
    target: SizingTarget
    placements: tuple[Placement, ...]
    best: Placement | None

    @property
    def context(self) -> int | None:
        """Maximum context length of the model, tokens."""
        fact = self.profile.about.fact("context")
        return None if fact is None else int(fact.value)

    @property
    def fits(self) -> str:
        """The recommended hardware, in short."""
        hardware = self.profile.about.hardware
        pools = " or ".join(hardware.pools) if hardware.pools else "any GPU"
        return f"{hardware.gpus} x {pools}"


def resolve(profile: Profile, profiles: Path = PROFILES) -> ResolvedProfile:
    """Resolve a profile, as `PROFILE=name` alone would."""
    hardware = profile.about.hardware
    environ = {"PROFILE": profile.name}
    machine = MachineInfo(gpus=hardware.gpus, memory_bytes=GIB)
    settings = load_settings(environ, machine=machine, profiles=profiles, use_local_models=False)
    target = load_target({}, profile.name, profiles)
    if target.requirement is None:
        return ResolvedProfile(profile, settings, target, (), None)
    pools = [pool for pool in map(find_pool, hardware.pools) if pool is not None]
    placements = [
        place_on(target, pool.name, pool.memory_bytes, hardware.gpus, pool) for pool in pools
    ]
    return ResolvedProfile(
        profile, settings, target, tuple(placements), cheapest(place_all(target))
    )


def profile_pages(registry: OptionRegistry) -> dict[str, str]:
    """Return all pages about profiles and models: path -> text.

    Args:
        registry: All settings.
    """
    resolved = _resolve_all(builtin_folder())
    pages = {
        f"{FOLDER}/{item.profile.name}.md": render_template(
            "profile.md.j2", registry=registry, item=item, **_variables(item)
        )
        for item in resolved
    }
    pages["docs/profiles.md"] = render_template(
        "profiles.md.j2",
        by_task={
            heading: [item for item in resolved if item.profile.about.task == task]
            for task, heading in TASKS.items()
        },
        count=len(resolved),
        pools=POOLS,
        slices=SLICES,
        slices_source=SLICES_SOURCE,
        prices=PRICES_SOURCE,
        reserve=(formatting.gib(RESERVE_BYTES), f"{RESERVE_SHARE:.0%}"),
        version=registry.version,
        values=_table_facts,
        formatting=formatting,
    )
    pages["docs/models.md"] = render_template(
        "models.md.j2",
        version=registry.version,
        architectures=read_schema().architectures,
        owners=_owners(resolved),
    )
    return pages


@functools.cache
def _resolve_all(folder: Path) -> tuple[ResolvedProfile, ...]:
    return tuple(resolve(profile, folder) for profile in load_all(folder))


def _variables(item: ResolvedProfile) -> dict[str, object]:
    return {
        "facts": facts_of(item.profile),
        "unknown": unknown_facts(item.profile),
        "unconfirmed": UNCONFIRMED,
        "encoders": item.profile.about.fact("encoder_bytes"),
        "settings": _settings_text(item.profile.settings),
        "formatting": formatting,
        "image": IMAGE,
        "task": TASKS[item.profile.about.task].lower(),
    }


def _table_facts(item: ResolvedProfile) -> Mapping[str, object]:
    """Return the facts that the table of profiles shows."""
    about = item.profile.about
    names = ("parameters", "weight_bytes", "context")
    return {name: fact.value if (fact := about.fact(name)) else None for name in names}


def _owners(resolved: tuple[ResolvedProfile, ...]) -> dict[str, list[str]]:
    """Return the profiles of each architecture."""
    owners: dict[str, list[str]] = {}
    for item in resolved:
        architecture = item.profile.about.fact("architecture")
        if architecture is not None:
            owners.setdefault(architecture.value, []).append(item.profile.name)
    return owners


def _settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as YAML."""
    given = {key: value for key, value in settings.items() if value is not None}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True, width=100)
