"""The page about clients: tested clients and their versions, from tests and locks."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from worker_tools.render.markdown import render_template

PAGE = "docs/clients.md"
TESTS = "tests/clients"


@dataclass(frozen=True, slots=True)
class Client:
    """A client package that tests run against a worker.

    Attributes:
        package: Its name on the package index.
        group: Dependency group that it is installed with.
        version: As locked.
        module: Its tests.
        summary: What they do, from the module's docstring.
    """

    package: str
    group: str
    version: str
    module: Path
    summary: str


def clients_page(root: Path) -> str:
    """Return the page."""
    return render_template("clients.md.j2", clients=list_clients(root))


def list_clients(root: Path) -> list[Client]:
    """Return the clients that have tests, by name.

    Args:
        root: Folder of the project.

    Raises:
        KeyError: A module is named after no package of a group that has a lock.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    locks = {path.stem: read_lock(path) for path in (root / "requirements").glob("clients*.lock")}
    groups = {
        re.split(r"[^\w.-]", entry)[0]: group
        for group in locks
        for entry in project["dependency-groups"][group]
        if isinstance(entry, str)
    }
    clients = []
    for module in sorted((root / TESTS).glob("test_*.py")):
        package = module.stem.removeprefix("test_").replace("_", "-")
        group = groups[package]
        summary = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
        clients.append(Client(package, group, locks[group][package], module, summary))
    return clients


def read_lock(path: Path) -> dict[str, str]:
    """Return the versions that a lock names, by package."""
    pairs = re.findall(r"^([\w.-]+)==(\S+)", path.read_text(encoding="utf-8"), re.M)
    return dict(pairs)
