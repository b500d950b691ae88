from __future__ import annotations

from pathlib import Path

import pytest
from measured import put_process

from benchmarks.first_chunk import find_socket


def test_find_socket_is_that_of_the_process_below(tmp_path):
    put_process(tmp_path, 1, 0, "python -m worker start")
    put_process(tmp_path, 2, 1, "python -m worker.engine.child --uds /run/ours.sock")
    put_process(tmp_path, 3, 0, "python -m worker.engine.child --uds /run/another.sock")

    assert find_socket(1, tmp_path) == Path("/run/ours.sock")


def test_find_socket_without_server_says_so(tmp_path):
    put_process(tmp_path, 1, 0, "python -m worker start")

    with pytest.raises(LookupError, match="no process below 1"):
        find_socket(1, tmp_path)
