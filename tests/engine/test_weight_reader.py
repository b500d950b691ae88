"""Reading weights in threads, to the GPU if there is one, else into the main memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from worker.engine import weight_reader
from worker.engine.weight_reader import (
    WeightReader,
    choose_ahead_bytes,
    read_fully,
)

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CHUNK_BYTES = 1000

TENSORS = {
    "many chunks": torch.randn(50, 60),
    "one chunk exactly": torch.randint(0, 255, (CHUNK_BYTES,), dtype=torch.uint8),
    "scalar": torch.ones(()),
    "empty": torch.ones(0, 4),
    "odd": torch.randn(33, 7).to(torch.bfloat16),
    "eight bits": torch.randn(4, 4).to(torch.float8_e4m3fn),
}


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weight_reader, "CHUNK_BYTES", CHUNK_BYTES)
    monkeypatch.setattr(weight_reader, "MIN_BYTES", 0)


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    found = []
    for number in (1, 2):
        path = tmp_path / f"model-{number}.safetensors"
        save_file({f"{number} {name}": each for name, each in TENSORS.items()}, path, {"by": "us"})
        found.append(str(path))
    return found


def read(paths: list[str], ahead_bytes: int = 10**6, **options: Any) -> Iterator[Any]:
    return WeightReader(DEVICE, ahead_bytes).read(paths, **options)


def list_bytes(tensor: torch.Tensor) -> list[int]:
    return tensor.cpu().flatten().view(torch.uint8).tolist()


def count_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def count_readers() -> int:
    return sum(thread.name.startswith("weights") for thread in threading.enumerate())


@pytest.mark.parametrize("ahead_bytes", [0, 500, 3000, 10**6])
def test_tensors_are_those_of_the_files(paths: list[str], ahead_bytes: int) -> None:
    found = dict(read(paths, ahead_bytes))

    assert found.keys() == {f"{number} {name}" for number in (1, 2) for name in TENSORS}
    for name, tensor in found.items():
        expected = TENSORS[name.partition(" ")[2]]
        assert (tensor.dtype, tensor.shape) == (expected.dtype, expected.shape), name
        assert list_bytes(tensor) == list_bytes(expected), name


def test_files_are_read_in_their_order(paths: list[str]) -> None:
    assert [name[0] for name, _tensor in read(paths)] == ["1"] * 6 + ["2"] * 6


def test_tensors_that_are_not_wanted_are_left_out(paths: list[str]) -> None:
    names = [name for name, _ in read(paths, skips=lambda name: "scalar" not in name)]

    assert names == ["1 scalar", "2 scalar"]


def test_small_tensors_are_read_without_the_threads(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_reader, "MIN_BYTES", CHUNK_BYTES)
    read_by_threads: list[int] = []
    allocate = torch.empty_like

    def note(source: torch.Tensor, **options: Any) -> torch.Tensor:
        read_by_threads.append(source.nbytes)
        return allocate(source, **options)

    monkeypatch.setattr(torch, "empty_like", note)
    found = dict(read(paths))

    assert sorted(read_by_threads) == [1000, 1000, 12_000, 12_000]
    assert list_bytes(found["2 odd"]) == list_bytes(TENSORS["odd"])
    assert {tensor.device.type for tensor in found.values()} == {DEVICE.type}


def test_no_more_is_read_ahead_than_allowed(
    paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    held, most = 0, 0
    allocate = torch.empty_like

    def count(source: torch.Tensor, **options: Any) -> torch.Tensor:
        nonlocal held, most
        held += source.nbytes
        most = max(most, held)
        return allocate(source, **options)

    monkeypatch.setattr(torch, "empty_like", count)
    total = 0
    for _name, tensor in read(paths, 1500):
        # "many chunks" is larger than the limit and is not allocated.
        total += tensor.nbytes
        held -= tensor.nbytes if tensor.nbytes <= 1500 else 0

    assert total == 2 * sum(each.nbytes for each in TENSORS.values())
    assert 1000 < most <= 1500


@pytest.mark.parametrize(
    ("free_gib", "expected_gib"), [(0, 0), (3.9, 0), (4, 1), (6, 1.5), (12, 3), (80, 3)]
)
def test_a_quarter_of_the_free_memory_is_used_at_most(free_gib: float, expected_gib: float) -> None:
    assert choose_ahead_bytes(int(free_gib * 1024**3)) == expected_gib * 1024**3


def test_reading_that_is_given_up_leaves_no_thread_and_no_file(paths: list[str]) -> None:
    before = count_open_files()
    reading = read(paths)
    next(reading)
    assert count_readers() > 0
    reading.close()  # type: ignore[attr-defined]

    assert (count_open_files(), count_readers()) == (before, 0)


def test_missing_file_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors"):
        list(read([str(tmp_path / "missing.safetensors")]))


def test_truncated_file_fails_and_leaves_no_thread(paths: list[str]) -> None:
    os.truncate(paths[1], os.path.getsize(paths[1]) - 1)

    with pytest.raises(SafetensorError):
        list(read(paths))
    assert count_readers() == 0


def test_file_that_shrinks_while_it_is_read_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    with path.open("rb") as file, pytest.raises(EOFError, match="ends after 10 bytes"):
        read_fully(file.fileno(), memoryview(bytearray(11)), 0)
