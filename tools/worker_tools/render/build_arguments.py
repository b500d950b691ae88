"""The build arguments of the Dockerfile."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuildArgument:
    """One `--build-arg`.

    Attributes:
        name: Its name in the Dockerfile.
        what: What it does.
        unset: The default.
    """

    name: str
    what: str
    unset: str


BUILD_ARGUMENTS = (
    BuildArgument("MODEL_NAME", "Repository of the model in the image.", "no model"),
    BuildArgument("MODEL_REVISION", "Branch, tag or commit of it.", "`main`"),
    BuildArgument("TOKENIZER_NAME", "Repository of another tokenizer.", "the model's"),
    BuildArgument("TOKENIZER_REVISION", "Branch, tag or commit of that repository.", "`main`"),
    BuildArgument("QUANTIZATION", "Default of the setting in this image.", "vLLM decides"),
    BuildArgument("PROFILE", "Profile of the image.", "the model's, if there is one"),
    BuildArgument(
        "BASE_PATH",
        "Folder of the model. Not below `/runpod-volume`, which a mounted volume hides.",
        "`/models`",
    ),
    BuildArgument(
        "WORKER_CUDA_VERSION",
        "Of worker-vllm. Rejected unless it is the base's version; use `VLLM_IMAGE`.",
        "the base's",
    ),
    BuildArgument(
        "VLLM_VERSION",
        "Release of vLLM. The build rejects a release whose options the worker does not know.",
        "the one in `pyproject.toml`",
    ),
    BuildArgument(
        "VLLM_IMAGE",
        "Another base image with that release, by tag or digest, such as one for another CUDA.",
        "`vllm/vllm-openai`",
    ),
)
"""All build arguments. Tests compare them with the Dockerfile and docker-bake.hcl."""
