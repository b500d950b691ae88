"""`worker bake`: the build step that puts a model into an image, run by the Dockerfile."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from worker.bake.download import Hub, Wanted
from worker.bake.selection import find_code_repositories
from worker.errors import ConfigurationError, ExitCode, Problem, WorkerError
from worker.models.image_manifest import ImageManifest, ManifestEntry
from worker.settings import Settings, load_settings
from worker.settings.sources import ENVIRONMENT

SECRET_FILE = Path("/run/secrets/HF_TOKEN")
"""Mount of the build secret HF_TOKEN; no layer of the image contains it."""

BASE_PATH = Path("/models")
"""Default of BASE_PATH: a folder that no volume hides."""

VOLUME = Path("/runpod-volume")

RECORDED = ("QUANTIZATION", "LOAD_FORMAT")
"""Settings that the manifest records, in addition to model, tokenizer and profile."""

CUDA_REQUEST = "WORKER_CUDA_VERSION"
CUDA_PRESENT = "CUDA_VERSION"
"""Set in the base image."""

IMAGE_ANCHOR = "image.md#a-model-inside-the-image"

CODE_SUFFIXES = (".py",)


def run_bake(environ: Mapping[str, str], *, secret_file: Path = SECRET_FILE) -> int:
    """Download the model that the environment names; without one there is nothing to do.

    Args:
        environ: The build's arguments, as environment variables.
        secret_file: File with the access token; an absent file leaves HF_TOKEN to the environment.

    Returns:
        Exit status.
    """
    try:
        environ = _add_token(environ, secret_file)
        refuse_cuda_request(environ)
        if not any(environ.get(name) for name in ("MODEL_NAME", "PROFILE", "WORKER_CONFIG")):
            print("No MODEL_NAME: nothing to bake; the worker downloads its model when it starts")
            return ExitCode.OK
        bake(load_settings(environ, use_local_models=False), environ)
    except WorkerError as error:
        print(f"worker bake: {error}", file=sys.stderr, flush=True)
        return int(error.exit_code)
    return ExitCode.OK


def bake(settings: Settings, environ: Mapping[str, str]) -> ImageManifest:
    """Download model and tokenizer and write the manifest.

    Args:
        settings: The configuration of the build.
        environ: The build's environment, for the hub's address.

    Returns:
        The manifest.
    """
    values = settings.values
    base = settings.storage.base_path or BASE_PATH
    if base == VOLUME or VOLUME in base.parents:
        _say(f"Warning: a network volume would hide {base}; BASE_PATH=/models is never hidden")
    refuse_folder(settings.model.name)
    token = settings.model.hf_token
    hub = Hub(
        base / "huggingface-cache" / "hub",
        token.get_secret_value() if token is not None else None,
        endpoint=environ.get("HF_ENDPOINT"),
        say=_say,
    )
    model = hub.fetch(
        Wanted(settings.model.name, values.get("revision"), values.get("load_format") or "auto")
    )
    name, tokenizer = values.get("tokenizer"), None
    if name and name != model.repo and not Path(name).is_dir():
        tokenizer = hub.fetch(Wanted(name, values.get("tokenizer_revision"), None))
    sources = (model,) if tokenizer is None else (model, tokenizer)
    kept = {
        item.option.name: str(item.value)
        for item in settings.values
        if item.option.name in RECORDED and item.origin == ENVIRONMENT
    }
    baked = ImageManifest(
        model=model,
        tokenizer=tokenizer,
        code=fetch_code(hub, sources, values.get("code_revision")),
        profile=settings.sources.profile,
        settings=kept,
    )
    manifest = settings.sources.baked_file
    write_manifest(baked, manifest)
    _say(f"Baked {model.repo}, {model.size_bytes / 1e9:.3g} GB; manifest in {manifest}")
    return baked


def fetch_code(
    hub: Hub, sources: Sequence[ManifestEntry], revision: str | None
) -> tuple[ManifestEntry, ...]:
    """Download the code that configurations name in further repositories.

    Args:
        hub: The model hub.
        sources: Model and tokenizer, as they were fetched.
        revision: Branch, tag or commit of the code; None is the main branch.
    """
    named = {repo for source in sources for repo in find_code_repositories(source.path)}
    further = sorted(named - {source.repo for source in sources})
    return tuple(hub.fetch(Wanted(repo, revision, None, only=CODE_SUFFIXES)) for repo in further)


def refuse_folder(model: str) -> None:
    """Refuse a model that is not a repository.

    Raises:
        ConfigurationError: With what to do instead.
    """
    if Path(model).is_dir():
        raise ConfigurationError(
            [
                Problem(
                    "MODEL_NAME",
                    "is a folder, which is in the image already",
                    got=model,
                    expected="a repository id such as org/name; COPY the folder instead",
                    anchor=IMAGE_ANCHOR,
                )
            ]
        )


def write_manifest(baked: ImageManifest, path: Path) -> None:
    """Write the manifest in one step; an interrupted build leaves none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(baked.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def refuse_cuda_request(environ: Mapping[str, str]) -> None:
    """Refuse a CUDA version other than the base image's; this build argument once chose it.

    Raises:
        ConfigurationError: Naming what replaces it.
    """
    wanted, present = environ.get(CUDA_REQUEST, ""), environ.get(CUDA_PRESENT, "")
    if not wanted or wanted.split(".")[:2] == present.split(".")[:2]:
        return
    raise ConfigurationError(
        [
            Problem(
                CUDA_REQUEST,
                f"CUDA comes with vLLM's image, here {present or 'an unknown version'}",
                got=wanted,
                expected="none; choose another base with --build-arg VLLM_IMAGE=…",
                anchor=IMAGE_ANCHOR,
            )
        ]
    )


def _add_token(environ: Mapping[str, str], secret_file: Path) -> Mapping[str, str]:
    try:
        token = secret_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return environ
    return {**environ, "HF_TOKEN": token} if token else environ


def _say(line: str) -> None:
    print(line, flush=True)
