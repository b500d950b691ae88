"""What the capture makes of options that changed, on small captures of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from worker.errors import WorkerError
from worker_tools.capture import command
from worker_tools.capture.review import find_incompatible, summarize
from worker_tools.capture.unpacked import list_uncaptured

SWITCH = {"type": "boolean", "x-kind": "switch"}
CHOICE = {"enum": ["auto", "fp8"], "x-kind": "string"}
LIST = {"type": "array", "items": {"enum": ["a", "b"]}, "x-kind": "list"}


def capture_of(**options: Any) -> dict[str, Any]:
    return {
        "x-vllm-version": "0.32.0",
        "x-names": {"tool_call_parser": ["hermes"]},
        "x-environment": ["VLLM_A"],
        "x-architectures": {"reward": []},
        "properties": options,
    }


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        pytest.param(SWITCH, SWITCH, None, id="same"),
        pytest.param(
            SWITCH, {**SWITCH, "x-kind": "string"}, "kind switch is now string", id="kind"
        ),
        pytest.param(CHOICE, {"x-kind": "string"}, "lost all of its choices: auto, fp8", id="all"),
        pytest.param(
            CHOICE, {**CHOICE, "enum": ["auto"]}, "lost some of its choices: fp8", id="one"
        ),
        pytest.param(CHOICE, {**CHOICE, "enum": ["auto", "fp8", "x"]}, None, id="more"),
        pytest.param(
            LIST, {**LIST, "items": {"type": "string"}}, "lost all of its choices: a, b", id="items"
        ),
    ],
)
def test_find_lost_meaning_names_kind_and_choices(before, after, found) -> None:
    changes = find_incompatible(capture_of(name=before), capture_of(name=after))

    assert changes == ({"name": found} if found else {})


def test_find_lost_meaning_ignores_added_and_removed_options() -> None:
    assert find_incompatible(capture_of(old=SWITCH), capture_of(new=SWITCH)) == {}


def test_summarize_counts_every_kind_of_change() -> None:
    old = capture_of(gone=SWITCH, kept={**SWITCH, "default": True})
    new = capture_of(fresh=SWITCH, kept={**SWITCH, "default": False})
    new |= {"x-environment": ["VLLM_B"], "x-names": {"tool_call_parser": ["hermes", "muse"]}}

    assert summarize(old, new) == [
        "options added: 1 (fresh)",
        "options removed: 1 (gone)",
        "environment variables added: 1 (VLLM_B)",
        "environment variables removed: 1 (VLLM_A)",
        "names, tool_call_parser added: 1 (muse)",
        "options with another default: 1 (kept)",
    ]
    assert summarize(old, old) == []


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose capture has one choice, which vLLM no longer offers."""
    (tmp_path / "pyproject.toml").touch()
    captured = tmp_path / "captured.json"
    captured.write_bytes(orjson.dumps(capture_of(kv_cache_dtype=CHOICE)))
    fresh = orjson.dumps(capture_of(kv_cache_dtype={"x-kind": "string"})).decode()
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "SCHEMA_PATH", captured)
    monkeypatch.setattr(command, "capture_text", lambda _: fresh)
    monkeypatch.setattr(command, "capture_files", lambda _: {})
    return captured


def test_capture_lost_choices_writes_nothing(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = checkout.read_text()

    assert command.run_capture() == 1
    assert "--accept KV_CACHE_DTYPE" in capsys.readouterr().err
    assert checkout.read_text() == before


def test_capture_accepted_loss_is_written(checkout: Path) -> None:
    assert command.run_capture(accepted=["KV_CACHE_DTYPE"]) == 0
    assert orjson.loads(checkout.read_bytes())["properties"] == {
        "kv_cache_dtype": {"x-kind": "string"}
    }


def make_unpacked(folder: Path, *needs: str) -> Path:
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    (folder / "vllm").mkdir()
    (folder / "vllm" / "__init__.py").touch()
    (folder / "vllm" / "_C.abi3.so").touch()
    (folder / "vllm-9.9.0.dist-info").mkdir()
    (folder / "vllm-9.9.0.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: 9.9.0\n{requires}"
    )
    return folder


def test_list_uncaptured_names_compiled_modules_and_other_versions(tmp_path: Path) -> None:
    folder = make_unpacked(tmp_path, "pydantic>=2", "orjson==0.1", "not-there>1", "x; extra == 'y'")

    uncaptured = list_uncaptured(folder)

    assert "1 compiled modules: _C" in uncaptured
    assert any(line.startswith("effects of orjson==0.1;") for line in uncaptured)
    assert "parts that need not-there>1, which is not installed" in uncaptured
    assert not any("pydantic" in line for line in uncaptured)


def test_list_uncaptured_other_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="pip download --no-deps vllm"):
        list_uncaptured(tmp_path)


KIND_PROBE = """
import argparse, sys
from vllm.utils.argparse_utils import FlexibleArgumentParser
from worker_tools.capture.engine import option_kind

class Derived(argparse.BooleanOptionalAction):
    pass

class Unknown(argparse.Action):
    def __call__(self, *_): ...

parser = FlexibleArgumentParser()
assert option_kind(parser.add_argument("--a", action=Derived))[0] == "switch"
assert option_kind(parser.add_argument("--b", action="store_true"))[0] == "flag"
try:
    option_kind(parser.add_argument("--c", action=Unknown, nargs=0))
except ValueError as error:
    print(error)
"""


@pytest.mark.contract
@pytest.mark.timeout(180)
def test_kind_derived_boolean_is_switch_and_unknown_one_fails() -> None:
    done = subprocess.run(
        [sys.executable, "-c", KIND_PROBE], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr[-2000:]
    assert "the option c takes no value" in done.stdout
