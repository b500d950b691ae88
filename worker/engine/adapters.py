"""LoRA adapters that requests name: found, fetched, checked and loaded once.

It runs in each of vLLM's API servers and imports nothing of vLLM; `worker.engine.adapter_patches`
connects the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import hashlib
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from worker.models.adapters import AdapterSources

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

MAX_CONFIG_BYTES = 1_000_000

DOWNLOADS = 4
"""Adapters that are fetched at the same time …"""
MAX_WAITING = 64
"""… and most that are fetched or wait for it."""

FIRST_ID, LAST_ID = 1 << 20, (1 << 31) - 1
"""Range of the adapters' numbers: above those that vLLM counts itself, within 32 bits."""

LOGGER = "vllm.worker.adapters"
"""Below vLLM's logger, whose handler prints it. Only names that are allowed are logged."""

logger = logging.getLogger(LOGGER)


class Fault(enum.Enum):
    """Why an adapter is not loaded; the values start the message of the error."""

    ABSENT = "The model `{}` does not exist"
    UNUSABLE = "The adapter `{}` cannot be used"
    UNAVAILABLE = "The adapter `{}` could not be fetched"


class AdapterError(Exception):
    """An adapter is not loaded.

    Args:
        fault: The kind of failure.
        name: Name of the adapter.
        reason: The cause, without a full stop.
    """

    def __init__(self, fault: Fault, name: str, reason: str) -> None:
        super().__init__(f"{fault.value.format(name)}: {reason}.")
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter that is loaded.

    Attributes:
        name: Name in requests.
        number: vLLM's key; the same in all API servers.
        path: Folder of its files.
    """

    name: str
    number: int
    path: str


class AdapterRegistry:
    """The numbers of all adapters, in files that the API servers share.

    Their engine knows an adapter by its number only: the same name must have the same number in
    each server, and another name another one.

    Args:
        folder: Folder of the files, one for each number.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def claim(self, name: str) -> int:
        """Return the number of `name`; a new one if it has none."""
        digest = hashlib.sha256(name.encode()).digest()
        number = FIRST_ID + int.from_bytes(digest[:8]) % (LAST_ID - FIRST_ID)
        while not self._take(number, name):
            number = number + 1 if number < LAST_ID else FIRST_ID
        return number

    def publish(self, adapter: Adapter) -> None:
        """Tell all servers that an adapter is loaded."""
        (self._folder / f"{adapter.number}.path").write_text(adapter.path, encoding="utf-8")

    def loaded(self) -> Iterator[Adapter]:
        """Yield the adapters that any server has loaded."""
        for file in sorted(self._folder.glob("*.path")):
            name = file.with_suffix(".name").read_text(encoding="utf-8")
            if path := file.read_text(encoding="utf-8"):
                yield Adapter(name, int(file.stem), path)

    def _take(self, number: int, name: str) -> bool:
        """Return whether a number belongs to `name`, after taking it if it was free."""
        file = self._folder / f"{number}.name"
        new = self._folder / f"{number}.{os.getpid()}.{threading.get_ident()}"
        new.write_text(name, encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(new, file)  # Unlike a write, it shows the whole content at once.
        new.unlink()
        return file.read_text(encoding="utf-8") == name


Check = Callable[[Mapping[str, Any]], None]
"""Raises ValueError if vLLM cannot use an adapter with this configuration."""

Add = Callable[[Adapter], Awaitable[None]]
"""Loads an adapter in the engine; raises AdapterError."""


class AdapterLoader:
    """Loads the adapters that requests name, each once.

    Args:
        sources: Where adapters may come from.
        registry: What the API servers share.
        timeout_s: Longest wait of a request, seconds; the download continues for later ones.
        check: Checks a configuration.
        add: Loads an adapter in the engine.
    """

    def __init__(
        self,
        sources: AdapterSources,
        registry: AdapterRegistry,
        timeout_s: float,
        check: Check,
        add: Add,
    ) -> None:
        self._sources = sources
        self._registry = registry
        self._timeout_s = timeout_s
        self._check = check
        self._add = add
        self._slots = asyncio.Semaphore(DOWNLOADS)
        self._running: dict[str, asyncio.Task[Adapter]] = {}

    async def load(self, name: str) -> Adapter:
        """Return the loaded adapter of that name.

        Raises:
            AdapterError: With the reason.
        """
        task = self._running.get(name)
        if task is None:
            if not self._is_allowed(name):
                reason = "an adapter must be in a repository or folder that LORA_ALLOWED names"
                raise AdapterError(Fault.ABSENT, name, reason)
            if len(self._running) >= MAX_WAITING:
                reason = "too many adapters are being fetched; send the request again"
                raise AdapterError(Fault.UNAVAILABLE, name, reason)
            task = self._running[name] = asyncio.create_task(self._load(name))
            task.add_done_callback(lambda done: self._end(name, done))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(task)
        except TimeoutError:
            reason = (
                f"it did not arrive within {self._timeout_s:.0f} s; the download continues, send "
                "the request again"
            )
            raise AdapterError(Fault.UNAVAILABLE, name, reason) from None

    def _is_allowed(self, name: str) -> bool:
        is_there = self._sources.find_folder(name) is not None
        return is_there or self._sources.find_repository(name) is not None

    def _end(self, name: str, task: asyncio.Task[Adapter]) -> None:
        del self._running[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            kind = "" if isinstance(error, AdapterError) else f"{type(error).__name__}: "
            logger.info("Not loaded: %s%s", kind, error)

    async def _load(self, name: str) -> Adapter:
        known = next((a for a in self._registry.loaded() if a.name == name), None)
        if known is not None and holds_adapter(known.path):
            return known
        began = time.monotonic()
        async with self._slots:
            path = await run_in_thread(lambda: fetch(name, self._sources, self._check))
        fetched = time.monotonic()
        adapter = Adapter(name, self._registry.claim(name), str(path))
        await self._add(adapter)
        self._registry.publish(adapter)
        seconds = (fetched - began, time.monotonic() - fetched)
        logger.info("Adapter %s is loaded (found in %.1f s, loaded in %.1f s)", name, *seconds)
        return adapter


async def run_in_thread(work: Callable[[], Path]) -> Path:
    """Return what `work` returns, run in a thread that does not keep the process from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Path] = loop.create_future()

    def settle(result: Path | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        elif result is not None:
            future.set_result(result)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as raised:  # noqa: BLE001  the caller raises it again
            error = raised
        with contextlib.suppress(RuntimeError):  # The loop has ended.
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="adapter", daemon=True).start()
    return await future


def holds_adapter(folder: str | Path) -> bool:
    """Return whether the files of an adapter are in a folder."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in (CONFIG, WEIGHTS))


def fetch(name: str, sources: AdapterSources, check: Check) -> Path:
    """Return the folder with an adapter's files, fetched from the hub if they are not here.

    Weights are fetched only for a configuration that can be used, and never as pickled objects.

    Raises:
        AdapterError: With the reason.
    """
    folder = sources.find_folder(name)
    if folder is not None:
        if not (folder / CONFIG).is_file():
            raise AdapterError(Fault.UNUSABLE, name, f"its folder has no {CONFIG}")
        check_config(name, folder / CONFIG, check)
        if not (folder / WEIGHTS).is_file():
            raise AdapterError(Fault.UNUSABLE, name, f"its folder has no {WEIGHTS}")
        return folder
    found = sources.find_repository(name)
    if found is None:  # Its folder has gone since the request came.
        raise AdapterError(Fault.ABSENT, name, "its folder is not there any more")
    repository, revision = found
    config = download(name, repository, CONFIG, revision)
    check_config(name, config, check)
    # The commit of the configuration: the branch may have moved.
    return download(name, repository, WEIGHTS, config.parent.name).parent


def download(name: str, repository: str, file: str, revision: str | None) -> Path:
    """Return the path of one file of a repository in the cache.

    Raises:
        AdapterError: The hub has no such file, or did not deliver it.
    """
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except Exception as error:  # noqa: BLE001  of a connection, of the disk, of the library
        fault, reason = explain_hub_error(error, file)
        raise AdapterError(fault, name, reason) from None


def explain_hub_error(error: BaseException, file: str) -> tuple[Fault, str]:
    """Return why the hub's library has not delivered a file, without addresses."""
    no_access = "or HF_TOKEN on the endpoint may not read it"
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, HfHubHTTPError):
        error = error.__cause__
    match error:
        case GatedRepoError():
            reason = f"its repository is gated; accept its terms on the hub, {no_access}"
            return Fault.ABSENT, reason
        case RevisionNotFoundError():
            return Fault.ABSENT, "its repository has no such revision"
        case RepositoryNotFoundError() | HFValidationError():
            return Fault.ABSENT, f"the hub has no such repository, {no_access}"
        case LocalEntryNotFoundError():
            return Fault.UNAVAILABLE, "the hub cannot be reached, and it is not in the cache"
        case EntryNotFoundError():
            return Fault.UNUSABLE, f"its repository has no {file}"
        case HfHubHTTPError() if error.response.status_code in (401, 403):
            return Fault.ABSENT, f"the hub refuses it, {no_access}"
        case HfHubHTTPError():
            return Fault.UNAVAILABLE, f"the hub answered {error.response.status_code}"
        case OSError(strerror=str(reason)):
            return Fault.UNAVAILABLE, f"the download failed ({reason})"
    return Fault.UNAVAILABLE, f"the download failed ({type(error).__name__})"


def check_config(name: str, path: Path, check: Check) -> None:
    """Check an adapter's configuration.

    Raises:
        AdapterError: It is none, or vLLM cannot use it.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise AdapterError(Fault.UNUSABLE, name, f"its {CONFIG} is too large")
        config = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        raise AdapterError(Fault.UNUSABLE, name, f"its {CONFIG} cannot be read") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterError(Fault.UNUSABLE, name, f"its {CONFIG} does not describe a LoRA adapter")
    try:
        check(config)
    except ValueError as error:
        reason = str(error).removesuffix(".").replace("max_lora_rank", "MAX_LORA_RANK,")
        raise AdapterError(Fault.UNUSABLE, name, reason) from None
    except Exception:  # noqa: BLE001  whatever vLLM does with a value of another type
        reason = f"its {CONFIG} has values of wrong types"
        raise AdapterError(Fault.UNUSABLE, name, reason) from None


def read_base_model(folder: str | Path) -> str | None:
    """Return the base model that an adapter's configuration names."""
    with contextlib.suppress(OSError, orjson.JSONDecodeError):
        config = orjson.loads(Path(folder, CONFIG).read_bytes())
        base = config.get("base_model_name_or_path")
        return base if isinstance(base, str) and base else None
    return None
