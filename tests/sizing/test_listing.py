"""`worker profiles`: the table and one profile."""

import io

import pytest
from rich.console import Console

from worker.errors import ExitCode
from worker.profile import builtin_folder, names
from worker.sizing.listing import run_profiles, run_show


def show(run, *arguments):
    out = io.StringIO()
    console = Console(file=out, width=160, highlight=False, color_system=None)
    return run(*arguments, console), out.getvalue()


def test_profiles_lists_every_one():
    code, text = show(run_profiles)

    assert code == ExitCode.OK
    listed = [line.split()[0] for line in text.splitlines()[1:] if "/" in line]
    assert listed == names(builtin_folder())


@pytest.mark.parametrize("name", ["qwen3.6-27b-fp8", "whisper-large-v3", "smollm2-135m"])
def test_show_prints_all_about_a_profile(name, snapshot):
    code, text = show(run_show, name)

    assert code == ExitCode.OK
    assert text == snapshot


def test_show_of_a_file_of_my_own(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: qwen3-8b\nmax_num_seqs: 4\n")

    code, text = show(run_show, str(path))

    assert code == ExitCode.OK
    assert "--max-num-seqs 4" in text
    assert "model_name: Qwen/Qwen3-8B  from qwen3-8b" in text


def test_show_of_an_unknown_profile():
    code, text = show(run_show, "qwen3-9b")

    assert code == ExitCode.CONFIGURATION
    assert "did you mean: qwen3.5-9b or qwen3-8b" in text


def test_show_of_a_profile_that_vllm_would_refuse(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("max_num_seqs: none at all\n")

    code, text = show(run_show, str(path))

    assert code == ExitCode.CONFIGURATION
    assert "profile mine:max_num_seqs" in text
