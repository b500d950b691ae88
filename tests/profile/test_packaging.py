"""The profiles are found in a checkout and in an installed package."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from worker.profile import builtin_folder, names

ROOT = Path(__file__).parents[2]


def test_wheel_takes_the_profiles_along():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert wheel["packages"] == ["worker"]
    assert wheel["force-include"] == {"profiles": "worker/profiles"}


def test_checkout_uses_the_folder_at_its_top():
    assert builtin_folder() == ROOT / "profiles"


def test_installed_package_finds_its_profiles(tmp_path):
    # As the wheel lays it out: the package with the profiles inside, and no project around it.
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "worker", tmp_path / "worker", ignore=ignored)
    shutil.copytree(ROOT / "profiles", tmp_path / "worker" / "profiles")
    code = (
        "from worker.settings import load_settings\n"
        "from worker.profile import builtin_folder, names\n"
        "print(builtin_folder())\n"
        "print(len(names(builtin_folder())))\n"
        "print(load_settings({'PROFILE': 'qwen3-8b', 'CUDA_VISIBLE_DEVICES': ''}).model.name)\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout.split() == [
        str(tmp_path / "worker" / "profiles"),
        str(len(names(builtin_folder()))),
        "Qwen/Qwen3-8B",
    ]
