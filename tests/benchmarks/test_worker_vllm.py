from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import worker_vllm
from benchmarks.worker_vllm import build_worker_vllm, find_free_port


def test_build_worker_vllm_puts_its_command_first_on_the_path(tmp_path):
    (checkout := tmp_path / "checkout" / "src").mkdir(parents=True)
    (checkout / "main.py").write_text("")
    (shim := tmp_path / "shim").mkdir()

    program = build_worker_vllm(checkout.parent, {"PATH": "/usr/bin", "MODEL_NAME": "m"}, shim)

    assert program.environ["PATH"] == f"{shim}:/usr/bin"
    assert program.environ["MODEL_NAME"] == "m"
    assert program.command == (sys.executable, str(checkout / "main.py"))
    assert (shim / "vllm").stat().st_mode & 0o100


def test_build_worker_vllm_without_checkout_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="--worker-vllm needs a checkout of worker-vllm"):
        build_worker_vllm(tmp_path, {}, tmp_path)


def test_make_shim_for_a_cpu_build_gives_the_distribution_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_vllm, "cpu_version", lambda: "9.8.7+cpu")

    worker_vllm.make_shim(tmp_path)

    asked = "from importlib.metadata import version; print(version('vllm'))"
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "9.8.7+cpu"


def test_find_free_port_is_a_port():
    assert 1024 <= find_free_port() <= 65535
