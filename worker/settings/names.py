"""Misspelt settings, found among everything that a container's environment holds."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping

from worker.errors import Problem
from worker.settings.catalogue import Catalogue
from worker.settings.deprecated import REMOVED, RENAMED
from worker.suggest import CERTAIN, TYPO, suggest

SHORT = 8
"""Names up to this length must match almost exactly: too many words look like `SEED`."""

SHORTEST = 5
"""Shorter names are never taken for misspelt ones."""

FOREIGN = (
    "ACCELERATE_",
    "ANSIBLE_",
    "AWS_",
    "AZURE_",
    "BASH_",
    "BUCKET_",
    "BUILDKITE_",
    "CARGO_",
    "CI_",
    "CMAKE_",
    "CONDA_",
    "CUBLAS_",
    "CUDA_",
    "CUDNN_",
    "DBUS_",
    "DEBIAN_",
    "DOCKER_",
    "FLASHINFER_",
    "GCP_",
    "GIT_",
    "GITHUB_",
    "GITLAB_",
    "GLOO_",
    "GOOGLE_",
    "GPG_",
    "HF_",
    "HUGGINGFACE_",
    "HUGGING_FACE_",
    "JAVA_",
    "JUPYTER_",
    "KUBERNETES_",
    "LC_",
    "LD_",
    "LMCACHE_",
    "MKL_",
    "NCCL_",
    "NODE_",
    "NPM_",
    "NUMBA_",
    "NVIDIA_",
    "NVM_",
    "NV_",
    "OMP_",
    "OPENBLAS_",
    "OTEL_",
    "PIP_",
    "PYTEST_",
    "PYTHON",
    "PYTORCH_",
    "RAY_",
    "RUNNER_",
    "RUNPOD_",
    "SENTRY_",
    "SSH_",
    "SSL_",
    "TF_",
    "TOKENIZERS_",
    "TORCH",
    "TRANSFORMERS_",
    "TRITON_",
    "UV_",
    "VIRTUAL_",
    "VSCODE_",
    "WANDB_",
    "XDG_",
)
"""Beginnings of names that belong to somebody else, however similar they look."""

PREFIXES = ("VLLM_", "WORKER_", "ENGINE_", "RUNPOD_VLLM_")
"""What people put before a setting's name, although it needs none."""

PAGE = "configuration.md"
ALLOW = "WORKER_ALLOWED_VARIABLES"


def find_misspelt(
    environ: Mapping[str, str], catalogue: Catalogue, allowed: str | None
) -> Iterator[Problem]:
    """Yield a problem for each variable that looks like a misspelt setting.

    Args:
        environ: The whole environment.
        catalogue: All settings.
        allowed: Patterns, comma-separated, of variables that are meant as they are.
    """
    known = {*catalogue.by_variable, *REMOVED, *RENAMED}
    taken = {option.name for option in catalogue.options}
    patterns = [part.strip() for part in (allowed or "").split(",") if part.strip()]
    for name in sorted(environ):
        if name in known or name in taken or name in catalogue.engine_variables:
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            continue
        near = _meant(name, known)
        if near:
            advice = f"the name of a setting, or {ALLOW}={name} if it is meant"
            option = catalogue.by_variable.get(near[0])
            anchor = option.anchor if option else PAGE
            yield Problem(
                name, "unknown variable", expected=advice, suggestions=near, anchor=anchor
            )


def _meant(name: str, known: set[str]) -> tuple[str, ...]:
    """Return which settings a foreign-looking name may have meant; mostly none."""
    upper = name.upper().replace("-", "_")
    if upper in known:
        return (upper,) if "_" in upper else ()
    for prefix in PREFIXES:
        bare = upper.removeprefix(prefix)
        if bare != upper and bare in known and "_" in bare:
            return (bare,)
    if upper.startswith(FOREIGN) or len(upper) < SHORTEST or upper.startswith(PREFIXES[0]):
        return ()
    return suggest(upper, known, CERTAIN if len(upper) <= SHORT else TYPO)
