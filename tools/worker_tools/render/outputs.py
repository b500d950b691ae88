"""The table of generated files: path -> function that renders it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from worker.settings.registry import OptionRegistry
from worker_tools.render.clients import PAGE, TESTS, clients_page
from worker_tools.render.console import hub, hub_load_balancer, hub_tests, worker_config
from worker_tools.render.deployment import deploy_page, image_page, sizes_page
from worker_tools.render.errors import render_errors
from worker_tools.render.json_schema import config_schema, engine_schema, profile_schema
from worker_tools.render.markdown import render_page, replace_block
from worker_tools.render.profiles import profile_pages
from worker_tools.render.requests import native_schema, render_requests

ROOT = Path(__file__).resolve().parents[3]
README = "README.md"


def _as_json(build: Callable[[OptionRegistry], Any]) -> Callable[[OptionRegistry], str]:
    return lambda registry: json.dumps(build(registry), indent=2, ensure_ascii=False) + "\n"


def _page(template: str) -> Callable[[OptionRegistry], str]:
    return lambda registry: render_page(template, registry)


def _requests(registry: OptionRegistry) -> str:
    defaults = {name: option.default for name, option in registry.by_variable.items()}
    return render_requests(defaults)


OUTPUTS: Mapping[str, Callable[[OptionRegistry], str]] = {
    "docs/configuration.md": _page("configuration.md.j2"),
    "docs/engine-options.md": _page("engine-options.md.j2"),
    "docs/requests.md": _requests,
    "docs/errors.md": lambda _registry: render_errors(),
    "docs/deploy-command.md": deploy_page,
    "docs/image.md": image_page,
    "docs/sizes.md": sizes_page,
    ".env.example": _page("env.example.j2"),
    "worker-config.json": _as_json(worker_config),
    ".runpod/hub.json": _as_json(hub),
    ".runpod/load-balancer/hub.json": _as_json(hub_load_balancer),
    ".runpod/tests.json": _as_json(hub_tests),
    "schemas/engine.schema.json": _as_json(engine_schema),
    "schemas/config.schema.json": _as_json(config_schema),
    "schemas/profile.schema.json": _as_json(profile_schema),
    "schemas/requests/native.json": lambda _registry: native_schema(),
}


def render_all(registry: OptionRegistry, root: Path = ROOT) -> dict[str, str]:
    """Return the text of every generated file, by its path below the project's folder.

    Args:
        registry: All settings.
        root: Folder of the project. One block of its README is generated. One page lists the
            tests of clients and their locks.
    """
    files = {path: render(registry) for path, render in OUTPUTS.items()}
    files |= profile_pages(registry)
    if (root / TESTS).is_dir():
        files[PAGE] = clients_page(root)
    readme = root / README
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        files[README] = replace_block(text, render_page("readme-table.md.j2", registry))
    return files
