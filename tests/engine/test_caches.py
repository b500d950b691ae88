"""Caches between the volume and the local disk."""

import logging

from worker.engine.caches import TEMPORARY, CacheMirror


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_fetch_then_store_carries_what_is_new_each_way(tmp_path):
    kept, local = tmp_path / "kept", tmp_path / "local"
    write(kept, vllm__a="1", triton__b="2")
    mirror = CacheMirror(kept, local)
    assert mirror.fetch() == 2
    assert read(local) == {"vllm/a": "1", "triton/b": "2"}
    write(local, vllm__c="3")
    assert mirror.store() == 1
    assert read(kept) == {"vllm/a": "1", "triton/b": "2", "vllm/c": "3"}
    assert mirror.store() == 0


def test_fetch_keeps_local_files(tmp_path):
    kept, local = tmp_path / "kept", tmp_path / "local"
    write(kept, a="theirs")
    write(local, a="ours")
    CacheMirror(kept, local).fetch()
    assert read(local) == {"a": "ours"}


def test_locks_parts_links_and_assets_stay_behind(tmp_path):
    kept, local = tmp_path / "kept", tmp_path / "local"
    write(local, **{"a.lock": "", f"b{TEMPORARY}": "", "c.tmp": "", "assets__d": "", "e": "1"})
    (local / "link").symlink_to(local / "e")
    CacheMirror(kept, local).store()
    assert read(kept) == {"e": "1"}


def test_fetch_without_a_cache_copies_nothing(tmp_path):
    assert CacheMirror(tmp_path / "absent", tmp_path / "local").fetch() == 0


def test_cache_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    local, kept = tmp_path / "local", tmp_path / "kept"
    write(local, a="1", b="2")
    kept.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert CacheMirror(kept, local).store() == 0
    assert "not copied" in caplog.text


def test_cache_that_is_far_too_large_is_left(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("worker.engine.caches.MAX_FILE_BYTES", 3)
    write(tmp_path / "kept", a="12345")
    assert CacheMirror(tmp_path / "kept", tmp_path / "local").fetch() == 0
    assert "above" in caplog.text


def test_fetch_after_stop_copies_nothing(tmp_path):
    write(tmp_path / "kept", a="1")
    mirror = CacheMirror(tmp_path / "kept", tmp_path / "local")
    mirror.stop()
    assert mirror.fetch() == 0
