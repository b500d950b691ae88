"""Which adapters a request may name; names come from anybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_core import PydanticCustomError

from worker.models.adapters import AdapterSources, read_sources


def test_read_sources_splits_patterns_and_folders() -> None:
    sources = read_sources(" my-org/*, /volume/adapters,other/one ")
    assert sources == AdapterSources((Path("/volume/adapters"),), ("my-org/*", "other/one"))


@pytest.mark.parametrize("text", ["", " , ", "my-org", "*", "a/b/c", "../x", "~/x", "a b/c"])
def test_read_sources_rejects_what_is_neither(text: str) -> None:
    with pytest.raises(PydanticCustomError):
        read_sources(text)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("org/a", ("org/a", None)),
        ("org/a@v1.0", ("org/a", "v1.0")),
        ("org/a@refs/pr/1", ("org/a", "refs/pr/1")),
        ("one/exact", ("one/exact", None)),
        ("one/exactly", None),
        ("other/a", None),
        ("org", None),
        ("org/a@", None),
        ("org/a@../x", None),
        ("org/a@/x", None),
        ("org/a/b", None),
        ("org/../other/a", None),
        ("org/..", None),
        ("org/.hidden", None),
        ("org/a\n", None),
        ("org/a?", None),
        ("org/*", None),
        ("xorg/a", None),
        ("ORG/a", None),
        ("", None),
        ("org/" + "a" * 10_000, None),
    ],
)
def test_find_repository_takes_allowed_names_only(
    name: str, found: tuple[str, str | None] | None
) -> None:
    assert read_sources("org/*,one/exact").find_repository(name) == found


@pytest.mark.parametrize("name", ["legal", "team/legal"])
def test_find_folder_finds_a_subfolder(tmp_path: Path, name: str) -> None:
    (tmp_path / "second" / name).mkdir(parents=True)
    sources = AdapterSources((tmp_path / "first", tmp_path / "second"))
    assert sources.find_folder(name) == tmp_path / "second" / name


OUTSIDE = ("..", "../outside", ".", "", "/", "/etc", "a/../../outside", ".git", "legal/", "a/b/c")
LONG = ("x" * 90 + "/" + "y" * 90, "x" * 5000 + "/y")


@pytest.mark.parametrize("name", [*OUTSIDE, *LONG])
def test_find_folder_does_not_leave_the_folder(tmp_path: Path, name: str) -> None:
    for path in ("outside", "adapters/legal", "adapters/.git", "adapters/a/b/c"):
        (tmp_path / path).mkdir(parents=True)
    assert AdapterSources((tmp_path / "adapters",)).find_folder(name) is None
