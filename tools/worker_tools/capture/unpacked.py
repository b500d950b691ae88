"""A wheel of vLLM that is unpacked in a folder: how to read it, and what it does not show."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from worker.errors import WorkerError


def find_distribution(folder: Path) -> importlib.metadata.Distribution:
    """Return the metadata of the vLLM in `folder`.

    Raises:
        WorkerError: When the folder holds no unpacked wheel of vLLM.
    """
    found = importlib.metadata.distributions(path=[str(folder)])
    for distribution in found:
        if distribution.name == "vllm" and (folder / "vllm" / "__init__.py").exists():
            return distribution
    raise WorkerError(
        f"{folder} holds no unpacked wheel of vLLM. Make one: "
        f"pip download --no-deps vllm==VERSION && python -m zipfile -e vllm-*.whl {folder}"
    )


def build_environment(folder: Path) -> dict[str, str]:
    """Return the variables with which Python imports that vLLM, on a machine without GPU."""
    return {"PYTHONPATH": str(folder.resolve()), "VLLM_TARGET_DEVICE": "cpu"}


def list_unseen(folder: Path) -> list[str]:
    """Return what a capture of the unpacked wheel cannot show, one line each."""
    compiled = sorted(path.name.partition(".")[0] for path in (folder / "vllm").rglob("*.so"))
    unseen = ["defaults that vLLM chooses at start for a GPU: the options are read as on a CPU"]
    if compiled:
        unseen.append(f"{len(compiled)} compiled modules: {', '.join(compiled)}")
    unseen += _list_unmet(find_distribution(folder))
    return unseen


def _list_unmet(distribution: importlib.metadata.Distribution) -> list[str]:
    """Return the requirements of which this environment has another version or none."""
    from packaging.requirements import Requirement

    unmet = []
    for text in distribution.requires or ():
        need = Requirement(text)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            unmet.append(f"what needs {need.name}{need.specifier}: it is not installed")
            continue
        if not need.specifier.contains(installed, prereleases=True):
            unmet.append(f"the effect of {need.name}{need.specifier}: {installed} was used")
    return unmet
