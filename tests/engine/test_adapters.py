"""Adapters that requests name, without vLLM: numbers, single loads, waits, configurations."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError

from tests.fakes.hub import Hub, Repository
from worker.engine import adapters
from worker.engine.adapters import (
    CONFIG,
    FIRST_ID,
    LAST_ID,
    WEIGHTS,
    Adapter,
    AdapterError,
    AdapterLoader,
    AdapterRegistry,
    Fault,
    check_config,
    download,
    explain_hub_error,
    fetch,
    holds_adapter,
    read_base_model,
)
from worker.models.adapters import AdapterSources

GOOD = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "org/base"}).encode()


def write(folder: Path, config: bytes | None = GOOD, *, weights: bool = True) -> Path:
    folder.mkdir(parents=True)
    if config is not None:
        (folder / CONFIG).write_bytes(config)
    if weights:
        (folder / WEIGHTS).write_bytes(b"weights")
    return folder


def accept(_config: Any) -> None:
    pass


class Engine:
    """Counts what is loaded; what `fails` says is refused."""

    def __init__(self) -> None:
        self.added: list[Adapter] = []
        self.fails = False

    async def add(self, adapter: Adapter) -> None:
        self.added.append(adapter)
        if self.fails:
            raise AdapterError(Fault.UNUSABLE, adapter.name, "it does not fit")


def make_loader(root: Path, engine: Engine, timeout_s: float = 5) -> AdapterLoader:
    return AdapterLoader(
        AdapterSources((root / "adapters",)),
        AdapterRegistry(root / "registry"),
        timeout_s,
        accept,
        engine.add,
    )


# Numbers


def test_claim_gives_each_name_one_number_in_all_servers(tmp_path: Path) -> None:
    first, second = AdapterRegistry(tmp_path), AdapterRegistry(tmp_path)
    names = [f"org/{number}" for number in range(50)]
    numbers = [first.claim(name) for name in names]
    assert [second.claim(name) for name in reversed(names)] == numbers[::-1]
    assert len(set(numbers)) == len(names)
    assert all(FIRST_ID <= number <= LAST_ID for number in numbers)


def test_claim_gives_names_with_the_same_hash_different_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = hashlib.sha256(b"")
    monkeypatch.setattr(hashlib, "sha256", lambda _data: same)
    registry = AdapterRegistry(tmp_path)
    assert len({registry.claim(name) for name in ("a", "b", "c")}) == 3
    assert registry.claim("b") == AdapterRegistry(tmp_path).claim("b")


def test_loaded_has_what_another_server_published(tmp_path: Path) -> None:
    first, second = AdapterRegistry(tmp_path), AdapterRegistry(tmp_path)
    adapter = Adapter("org/a", first.claim("org/a"), "/cache/a")
    assert list(second.loaded()) == []
    first.publish(adapter)
    assert list(second.loaded()) == [adapter]


# Loading


async def test_load_fetches_once_for_many_requests(tmp_path: Path) -> None:
    engine = Engine()
    write(tmp_path / "adapters/legal")
    loader = make_loader(tmp_path, engine)
    found = await asyncio.gather(*(loader.load("legal") for _ in range(20)))
    assert len(engine.added) == 1
    assert set(found) == {engine.added[0]}


async def test_load_takes_what_another_server_has_loaded(tmp_path: Path) -> None:
    engine, other = Engine(), Engine()
    write(tmp_path / "adapters/legal")
    loaded = await make_loader(tmp_path, other).load("legal")
    assert await make_loader(tmp_path, engine).load("legal") == loaded
    assert engine.added == []


async def test_load_does_not_remember_a_failure(tmp_path: Path) -> None:
    engine = Engine()
    engine.fails = True
    write(tmp_path / "adapters/legal")
    loader = make_loader(tmp_path, engine)
    for _ in range(2):
        with pytest.raises(AdapterError, match="it does not fit"):
            await loader.load("legal")
    engine.fails = False
    await loader.load("legal")
    assert len({adapter.number for adapter in engine.added}) == 1


async def test_load_refuses_other_names_without_looking(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="LORA_ALLOWED") as caught:
        await make_loader(tmp_path, Engine()).load("../etc")
    assert caught.value.fault is Fault.ABSENT


async def test_load_ends_the_wait_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    path = write(tmp_path / "adapters/legal")
    monkeypatch.setattr(adapters, "fetch", lambda *_arguments: held.wait(10) and path)
    engine = Engine()
    loader = make_loader(tmp_path, engine, timeout_s=0.05)
    for _ in range(2):
        with pytest.raises(AdapterError, match="send the request again") as caught:
            await loader.load("legal")
        assert caught.value.fault is Fault.UNAVAILABLE
    held.set()
    async with asyncio.timeout(5):
        while not engine.added:
            await asyncio.sleep(0.01)
    await loader.load("legal")
    assert len(engine.added) == 1


async def test_load_limits_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    for number in range(3):
        write(tmp_path / f"adapters/a{number}")
    monkeypatch.setattr(adapters, "MAX_WAITING", 2)
    monkeypatch.setattr(adapters, "fetch", lambda name, *_: held.wait(10) and tmp_path / name)
    loader = make_loader(tmp_path, Engine())
    waiting = [asyncio.create_task(loader.load(f"a{number}")) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(AdapterError, match="too many adapters"):
        await loader.load("a2")
    held.set()
    await asyncio.gather(*waiting)


async def test_request_that_is_given_up_does_not_end_the_load_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    path = write(tmp_path / "adapters/legal")
    monkeypatch.setattr(adapters, "fetch", lambda *_arguments: held.wait(10) and path)
    loader = make_loader(tmp_path, Engine())
    first, second = (asyncio.create_task(loader.load("legal")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    held.set()
    assert (await second).path == str(path)


# Files


@pytest.mark.parametrize(
    ("config", "weights", "reason"),
    [
        (None, True, f"has no {CONFIG}"),
        (GOOD, False, f"has no {WEIGHTS}"),
        (b"{", True, "cannot be read"),
        (b"[" * 100_000, True, "cannot be read"),
        (b" " * 1_000_001, True, "too large"),
        (b"[]", True, "does not describe a LoRA adapter"),
        (b'{"peft_type": "IA3"}', True, "does not describe a LoRA adapter"),
    ],
)
def test_fetch_refuses_a_folder_that_is_no_adapter(
    tmp_path: Path, config: bytes | None, weights: bool, reason: str
) -> None:
    write(tmp_path / "bad", config, weights=weights)
    with pytest.raises(AdapterError, match=reason) as caught:
        fetch("bad", AdapterSources((tmp_path,)), accept)
    assert caught.value.fault is Fault.UNUSABLE


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("LoRA rank 64 is greater than max_lora_rank 16."), "than MAX_LORA_RANK, 16"),
        (TypeError("'<=' not supported between instances of 'list' and 'int'"), "wrong types"),
    ],
)
def test_check_config_says_what_vllm_cannot_use(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    def refuse(_config: Any) -> None:
        raise error

    path = write(tmp_path / "a") / CONFIG
    with pytest.raises(AdapterError, match=reason) as caught:
        check_config("a", path, refuse)
    assert "instances" not in str(caught.value)


def test_holds_adapter_wants_both_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    assert holds_adapter(folder)
    (folder / WEIGHTS).unlink()
    assert not holds_adapter(folder)


def test_read_base_model_is_none_without_one(tmp_path: Path) -> None:
    assert read_base_model(write(tmp_path / "a")) == "org/base"
    assert read_base_model(write(tmp_path / "b", b'{"base_model_name_or_path": 3}')) is None
    assert read_base_model(tmp_path / "none") is None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A hub on loopback that the library uses."""
    files = {CONFIG: GOOD, WEIGHTS: b"weights"}
    with Hub({"org/a": Repository(files)}) as running:
        constants = "huggingface_hub.constants"
        here = functools.partial(hf_hub_download, endpoint=running.url)
        monkeypatch.setattr(adapters, "hf_hub_download", here)
        monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(f"{constants}.HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "hf_own")
        yield running


def test_fetch_takes_both_files_from_the_hub(hub: Hub) -> None:
    path = fetch("org/a", AdapterSources(repositories=("org/*",)), accept)
    assert holds_adapter(path)
    assert hub.downloads() == [CONFIG, WEIGHTS]


def test_fetch_does_not_fetch_the_weights_of_a_configuration_that_is_refused(hub: Hub) -> None:
    def refuse(_config: Any) -> None:
        raise ValueError("rank")

    with pytest.raises(AdapterError, match="rank"):
        fetch("org/a", AdapterSources(repositories=("org/*",)), refuse)
    assert hub.downloads() == [CONFIG]


@pytest.mark.parametrize(
    ("repository", "change", "fault", "reason"),
    [
        ("org/none", {}, Fault.ABSENT, "no such repository, or HF_TOKEN"),
        ("org/a--b", {}, Fault.ABSENT, "no such repository"),
        ("org/a", {"token": "x"}, Fault.ABSENT, "no such repository, or HF_TOKEN"),
        ("org/a", {"token": "x", "gated": True}, Fault.ABSENT, "gated"),
        ("org/a", {"branches": ()}, Fault.ABSENT, "no such revision"),
        ("org/a", {"outage": 403}, Fault.ABSENT, "refuses it"),
        ("org/a", {"outage": 404}, Fault.UNAVAILABLE, "the hub answered 404"),
        ("org/a", {"outage": 501}, Fault.UNAVAILABLE, "the hub answered 501"),
        ("org/a", {"files": {}}, Fault.UNUSABLE, f"no {CONFIG}"),
    ],
)
def test_download_says_why_the_hub_has_no_file(
    hub: Hub, repository: str, change: dict[str, Any], fault: Fault, reason: str
) -> None:
    for name, value in change.items():
        setattr(hub.repositories["org/a"], name, value)
    with pytest.raises(AdapterError, match=reason) as caught:
        download("name", repository, CONFIG, "main")
    assert caught.value.fault is fault
    assert "hf_own" not in str(caught.value)
    assert hub.url not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device", "/cache"), "failed (No space left on device)"),
        (LocalEntryNotFoundError("https://signed"), "cannot be reached, and it is not in the"),
        (RuntimeError("https://signed"), "failed (RuntimeError)"),
    ],
)
def test_explain_hub_error_names_no_address(error: Exception, reason: str) -> None:
    fault, text = explain_hub_error(error, CONFIG)
    assert fault is Fault.UNAVAILABLE
    assert reason in text
    assert "/" not in text
