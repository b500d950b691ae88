"""Finds misspelt settings in an environment that has many other variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from worker.errors import Problem, shorten
from worker.settings.deprecated import REMOVED, RENAMED
from worker.settings.registry import OptionRegistry
from worker.suggest import CERTAIN, TYPO, suggest
from worker.vllm_options.variables import explain_unread

SHORT = 8
"""Names up to this length must match almost exactly: too many words look like `SEED`."""

MIN_LENGTH = 5
"""Shorter names are never taken for misspelt ones."""

IGNORED_PREFIXES = (
    *("ACCELERATE_", "ANSIBLE_", "AWS_", "AZURE_", "BASH_", "BUCKET_", "BUILDKITE_", "CARGO_"),
    *("CI_", "CMAKE_", "CONDA_", "CUBLAS_", "CUDA_", "CUDNN_", "DBUS_", "DEBIAN_", "DOCKER_"),
    *("FLASHINFER_", "GCP_", "GIT_", "GITHUB_", "GITLAB_", "GLOO_", "GOOGLE_", "GPG_", "HF_"),
    *("HUGGINGFACE_", "HUGGING_FACE_", "JAVA_", "JUPYTER_", "KUBERNETES_", "LC_", "LD_"),
    *("LMCACHE_", "MKL_", "NCCL_", "NODE_", "NPM_", "NUMBA_", "NVIDIA_", "NVM_", "NV_", "OMP_"),
    *("OPENBLAS_", "OTEL_", "PIP_", "PYTEST_", "PYTHON", "PYTORCH_", "RAY_", "RUNNER_", "RUNPOD_"),
    *("SENTRY_", "SSH_", "SSL_", "TF_", "TOKENIZERS_", "TORCH", "TRANSFORMERS_", "TRITON_", "UV_"),
    *("VIRTUAL_", "VSCODE_", "WANDB_", "XDG_"),
)
"""Beginnings of names that belong to somebody else, however similar they look."""

PREFIXES = ("VLLM_", "WORKER_", "ENGINE_", "RUNPOD_VLLM_")
"""What people put before a setting's name, although it needs none."""

LITERAL = re.compile(r"([?\[])")
"""Characters that have no meaning in patterns of names."""

PAGE = "configuration.md"
ALLOW = "WORKER_ALLOWED_VARIABLES"
ENGINE_VARIABLES = "engine-options.md"

MODEL_VARIABLES = (
    *("MODEL", "MODEL_ID", "MODEL_PATH", "MODEL_REPO", "MODEL_REPO_ID"),
    *("HF_MODEL", "HF_MODEL_ID", "HF_MODEL_NAME", "HUGGINGFACE_MODEL", "LLM_MODEL", "VLLM_MODEL"),
)
"""What other servers and templates call MODEL_NAME."""


def find_unknown(
    environ: Mapping[str, str], registry: OptionRegistry, allowed: str | None
) -> Iterator[Problem]:
    """Yield a problem for each variable that is misspelt or that only another vLLM reads.

    A misspelt one has suggestions; one of another release is worth a warning only.

    Args:
        environ: The whole environment.
        registry: All settings.
        allowed: Patterns, comma-separated, of variables that are meant as they are.
    """
    known = {*registry.by_variable, *REMOVED, *RENAMED}
    read = known | registry.engine_variables
    for name in sorted({*environ} - read - {option.name for option in registry.options}):
        if _is_allowed(name, allowed):
            continue
        near, message = closest_setting(name, known), "unknown variable"
        if not near and (unread := explain_unread(name, read, registry.version)):
            message, near = unread
        elif not near:
            continue
        if near:
            expected = f"the name of a setting, or {ALLOW}={name} if the name is correct"
            option = registry.by_variable.get(near[0])
            anchor = option.anchor if option else PAGE
            yield Problem(name, message, expected=expected, suggestions=near, anchor=anchor)
        else:
            yield Problem(name, message, anchor=ENGINE_VARIABLES)


def find_model_elsewhere(environ: Mapping[str, str], allowed: str | None) -> Iterator[Problem]:
    """Yield a problem for each variable that names a model for other servers.

    For use where MODEL_NAME is not set: the default model would be served without a warning.
    """
    for name in MODEL_VARIABLES:
        value = environ.get(name, "").strip()
        if value and not _is_allowed(name, allowed):
            yield Problem(
                name,
                "this worker does not read it, and MODEL_NAME is not set",
                got=value,
                expected=f"MODEL_NAME={shorten(value)}, or {ALLOW}={name} if another program "
                "reads it",
                suggestions=("MODEL_NAME",),
                anchor=f"{PAGE}#model_name",
            )


def _is_allowed(name: str, allowed: str | None) -> bool:
    """Whether a name matches one of the patterns, in which `*` stands for any characters."""
    patterns = (LITERAL.sub(r"[\1]", part.strip()) for part in (allowed or "").split(","))
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def closest_setting(name: str, known: set[str]) -> tuple[str, ...]:
    """Return which settings a foreign-looking name may have meant; mostly none."""
    upper = name.upper().replace("-", "_")
    if upper in known:
        return (upper,) if "_" in upper else ()
    for prefix in PREFIXES:
        bare = upper.removeprefix(prefix)
        if bare != upper and bare in known and "_" in bare:
            return (bare,)
    if len(upper) < MIN_LENGTH or upper.startswith((*IGNORED_PREFIXES, PREFIXES[0])):
        return ()
    return suggest(upper, known, CERTAIN if len(upper) <= SHORT else TYPO)
