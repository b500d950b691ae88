"""Pages about models: a page for each profile, their list, and the models that vLLM supports."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from worker.profile import builtin_folder
from worker.profile.memory import RESERVE_BYTES, RESERVE_SHARE
from worker.profile.model import UNCONFIRMED
from worker.profile.pools import POOLS, PRICES_SOURCE, SLICES, SLICES_SOURCE
from worker.settings.registry import OptionRegistry
from worker.sizing import formatting
from worker.sizing.listing import Described, describe_all, facts_of, settings_text, unknown_facts
from worker.vllm_options.schema import read_schema
from worker_tools.render.markdown import render_template

FOLDER = "docs/profiles"
TASKS = {
    "generate": "Chat and generation",
    "embed": "Embeddings",
    "rerank": "Reranking",
    "transcribe": "Speech to text",
}
"""Headings of the table of profiles, by task."""


def profile_pages(registry: OptionRegistry) -> dict[str, str]:
    """Return all pages about profiles and models: path -> text.

    Args:
        registry: All settings.
    """
    described = _described(builtin_folder())
    pages = {
        f"{FOLDER}/{item.profile.name}.md": render_template(
            "profile.md.j2", registry=registry, item=item, **_variables(item)
        )
        for item in described
    }
    pages["docs/profiles.md"] = render_template(
        "profiles.md.j2",
        by_task={
            heading: [item for item in described if item.profile.about.task == task]
            for task, heading in TASKS.items()
        },
        count=len(described),
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
        owners=_owners(described),
    )
    return pages


@functools.cache
def _described(folder: Path) -> tuple[Described, ...]:
    return tuple(describe_all(folder))


def _variables(item: Described) -> dict[str, object]:
    return {
        "facts": facts_of(item.profile),
        "unknown": unknown_facts(item.profile),
        "unconfirmed": UNCONFIRMED,
        "encoders": item.profile.about.fact("encoder_bytes"),
        "settings": settings_text(item.profile.settings),
        "formatting": formatting,
        "task": TASKS[item.profile.about.task].lower(),
    }


def _table_facts(item: Described) -> Mapping[str, object]:
    """Return the facts that the table of profiles shows."""
    about = item.profile.about
    names = ("parameters", "weight_bytes", "context")
    return {name: fact.value if (fact := about.fact(name)) else None for name in names}


def _owners(described: tuple[Described, ...]) -> dict[str, list[str]]:
    """Return the profiles of each architecture."""
    owners: dict[str, list[str]] = {}
    for item in described:
        architecture = item.profile.about.fact("architecture")
        if architecture is not None:
            owners.setdefault(architecture.value, []).append(item.profile.name)
    return owners
