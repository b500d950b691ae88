"""Check docker-bake.hcl with an HCL parser and against the Dockerfile: part of `make lint`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).resolve().parents[1]


def find_faults(bake: str, dockerfile: str) -> Iterator[str]:
    """Yield what is wrong with a bake file.

    Args:
        bake: Text of docker-bake.hcl.
        dockerfile: Text of the Dockerfile that it builds.
    """
    try:
        parsed = hcl2.loads(bake)
    except Exception as error:  # noqa: BLE001 - the parser raises errors of its own grammar
        yield f"is not HCL: {str(error).splitlines()[0]}"
        return
    variables = _blocks(parsed, "variable").keys()
    targets, groups = _blocks(parsed, "target"), _blocks(parsed, "group")
    for group, content in groups.items():
        for name in content.get("targets", ()):
            if name.strip('"') not in targets:
                yield f"group {group} names a target that is not there: {name}"
    declared = set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))
    for target, content in targets.items():
        arguments = content.get("args", {})
        for name in sorted(declared - arguments.keys()):
            yield f"target {target} does not pass the Dockerfile's {name}"
        for name in sorted(arguments.keys() - declared):
            yield f"target {target} passes {name}, which the Dockerfile lacks"
    for name in sorted(_references(parsed) - variables):
        yield f"uses {name}, which is not a variable"


def _blocks(parsed: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the blocks of a kind by name."""
    return {
        name.strip('"'): content
        for block in parsed.get(kind, ())
        for name, content in block.items()
    }


def _references(value: Any) -> set[str]:
    """Return the variables that a value uses: bare, or within a string as `${NAME}`."""
    if isinstance(value, Mapping):
        return set().union(*map(_references, value.values()))
    if isinstance(value, list):
        return set().union(*map(_references, value))
    if not isinstance(value, str):
        return set()
    if value.startswith('"'):
        return set(re.findall(r"\$\{(\w+)\}", value))
    return {value} if value.isidentifier() else set()


def main() -> int:
    """Check the project's file and return the exit status."""
    bake = ROOT / "docker-bake.hcl"
    faults = list(find_faults(bake.read_text(), (ROOT / "Dockerfile").read_text()))
    for fault in faults:
        print(f"{bake.name}: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
