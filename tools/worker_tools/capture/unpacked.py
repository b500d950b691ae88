"""Read an unpacked wheel of vLLM, and list what cannot be read from it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from worker.errors import WorkerError


def find_distribution(folder: Path) -> importlib.metadata.Distribution:
    """Return the metadata of the vLLM in `folder`.

    Raises:
        WorkerError: The folder has no unpacked wheel of vLLM.
    """
    found = importlib.metadata.distributions(path=[str(folder)])
    for distribution in found:
        if distribution.name == "vllm" and (folder / "vllm" / "__init__.py").exists():
            return distribution
    raise WorkerError(
        f"{folder} has no unpacked wheel of vLLM. Create one: "
        f"pip download --no-deps vllm==VERSION && python -m zipfile -e vllm-*.whl {folder}"
    )


def build_environment(folder: Path) -> dict[str, str]:
    """Return the variables that make Python import this vLLM on a machine without GPU."""
    return {"PYTHONPATH": str(folder.resolve()), "VLLM_TARGET_DEVICE": "cpu"}


def list_uncaptured(folder: Path) -> list[str]:
    """Return what a capture of the unpacked wheel lacks, one line each."""
    compiled = sorted(path.name.partition(".")[0] for path in (folder / "vllm").rglob("*.so"))
    uncaptured = ["defaults that vLLM chooses for a GPU at start; the capture has those for a CPU"]
    if compiled:
        uncaptured.append(f"{len(compiled)} compiled modules: {', '.join(compiled)}")
    uncaptured += _list_unmet(find_distribution(folder))
    return uncaptured


def _list_unmet(distribution: importlib.metadata.Distribution) -> list[str]:
    """Return the requirements that are missing here or have another version."""
    from packaging.requirements import Requirement

    unmet = []
    for text in distribution.requires or ():
        need = Requirement(text)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            unmet.append(f"parts that need {need.name}{need.specifier}, which is not installed")
            continue
        if not need.specifier.contains(installed, prereleases=True):
            unmet.append(f"effects of {need.name}{need.specifier}; {installed} was used")
    return unmet
