"""The arguments with which an image is built; the Dockerfile hands them to its steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuildArgument:
    """One `--build-arg`.

    Attributes:
        name: As the Dockerfile declares it.
        what: What it does.
        unset: What holds without it.
    """

    name: str
    what: str
    unset: str


BUILD_ARGUMENTS = (
    BuildArgument("MODEL_NAME", "Repository to put into the image.", "no model inside"),
    BuildArgument("MODEL_REVISION", "Branch, tag or commit of it.", "`main`"),
    BuildArgument("TOKENIZER_NAME", "Another repository's tokenizer.", "the model's"),
    BuildArgument("TOKENIZER_REVISION", "Branch, tag or commit of that.", "`main`"),
    BuildArgument("QUANTIZATION", "Kept as the image's own default.", "vLLM decides"),
    BuildArgument("PROFILE", "Profile that the image starts from.", "the model's, if there is one"),
    BuildArgument(
        "BASE_PATH",
        "Folder of the model; a mounted volume would hide one below `/runpod-volume`.",
        "`/models`",
    ),
    BuildArgument(
        "WORKER_CUDA_VERSION",
        "Came with the base once; refused, unless it is the base's own. Use `VLLM_IMAGE`.",
        "the base's",
    ),
    BuildArgument(
        "VLLM_VERSION",
        "Release of vLLM; the worker knows the options of one, and the build refuses another.",
        "the one in `pyproject.toml`",
    ),
    BuildArgument(
        "VLLM_IMAGE",
        "Another base with that release, by tag or digest: another CUDA, or your own registry.",
        "`vllm/vllm-openai`",
    ),
)
"""All arguments; tests compare them with the Dockerfile and with docker-bake.hcl."""
