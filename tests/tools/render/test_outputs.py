"""Generated files: up to date, deterministic, valid, and harmless when a form is left alone."""

import io
import json
import os
import subprocess
import sys

import jsonschema
import pytest
import yaml
from rich.console import Console

from worker.errors import ExitCode
from worker.machine import GIB, MachineInfo
from worker.settings import load_settings
from worker.settings.registry import SWITCH_KINDS, load_registry
from worker_tools.render import run_render
from worker_tools.render.console import form_options, hub, hub_tests, worker_config
from worker_tools.render.markdown import BEGIN, END, replace_block
from worker_tools.render.outputs import OUTPUTS, ROOT, render_all

REGISTRY = load_registry()
GPU = MachineInfo(1, 24 * GIB)


def run(mode, root):
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False, color_system=None)
    return run_render(mode, root=root, console=console), out.getvalue()


def schema(name):
    return json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())


def test_committed_files_are_up_to_date():
    code, text = run("check", ROOT)

    assert code == ExitCode.OK, text


def test_render_is_independent_of_the_hash_seed():
    program = (
        "import hashlib\n"
        "from worker.settings.registry import load_registry\n"
        "from worker_tools.render.outputs import render_all\n"
        "text = ''.join(render_all(load_registry()).values())\n"
        "print(hashlib.sha256(text.encode()).hexdigest())\n"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(hashes) == 1


def test_render_writes_what_is_missing_and_then_nothing(tmp_path):
    first_code, first = run("write", tmp_path)
    second_code, second = run("write", tmp_path)

    assert (first_code, second_code) == (ExitCode.OK, ExitCode.OK)
    assert first.count("written:") == len(render_all(REGISTRY, tmp_path))
    assert "up to date" in second


def test_render_check_shows_a_short_difference_and_the_command(tmp_path):
    run("write", tmp_path)
    (tmp_path / ".env.example").write_text("")
    (tmp_path / "docs/configuration.md").write_text("old\n")

    code, text = run("check", tmp_path)

    assert code == ExitCode.FAILURE
    assert "2 generated files are stale: docs/configuration.md, .env.example" in text
    assert "Run: worker render" in text
    assert len(text.splitlines()) < 110
    assert (tmp_path / "docs/configuration.md").read_text() == "old\n"


def test_render_dry_run_prints_and_writes_nothing(tmp_path):
    code, text = run("dry-run", tmp_path)

    assert code == ExitCode.OK
    assert "==> worker-config.json" in text
    assert list(tmp_path.iterdir()) == []


def test_replace_block_changes_only_what_is_between_the_marks():
    text = f"above\n{BEGIN}\nold\n{END}\nbelow\n"

    assert replace_block(text, "new\n") == f"above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"
    assert replace_block("no marks", "new") == "no marks"


@pytest.fixture(scope="module")
def rendered():
    return render_all(REGISTRY)


@pytest.mark.parametrize("path", OUTPUTS)
def test_file_ends_with_one_newline_and_has_no_trailing_spaces(rendered, path):
    text = rendered[path]

    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\r" not in text


FORMATS = {"hub": hub, "hub-tests": hub_tests, "worker-config": worker_config}


@pytest.mark.parametrize("name", [*FORMATS, "engine", "config"])
def test_schema_is_a_schema(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("name", FORMATS)
def test_console_file_has_the_format_of_the_console(name):
    jsonschema.validate(FORMATS[name](REGISTRY), schema(name))


def entry(**changes):
    return {"name": "Label", "type": "string", "description": "Text.", **changes}


LISTING = {
    "title": "T",
    "description": "D",
    "type": "serverless",
    "category": "language",
    "config": {
        "runsOn": "GPU",
        "containerDiskInGb": 50,
        "gpuCount": 1,
        "gpuIds": "ADA_24,-NVIDIA GeForce RTX 4090",
        "allowedCudaVersions": ["13.0"],
        "env": [
            {"key": "FIXED", "value": "1"},
            {"key": "TEXT", "input": entry(default="x", advanced=True)},
            {"key": "LIST", "input": entry(options=[{"label": "A", "value": "a"}])},
            {"key": "NUMBER", "input": entry(type="number", default=1, min=0, max=2)},
            {"key": "TOGGLE", "input": entry(type="boolean", trueValue="1", falseValue="0")},
            {"key": "MODEL", "input": entry(type="huggingface", required=True)},
        ],
        "presets": [{"name": "P", "defaults": {"TEXT": "x", "NUMBER": 1, "TOGGLE": True}}],
    },
}


def test_hub_schema_accepts_every_form_of_entry():
    jsonschema.validate(LISTING, schema("hub"))


@pytest.mark.parametrize(
    "change",
    [
        {"type": "pod"},
        {"category": "text"},
        {"config": {**LISTING["config"], "gpuIds": "ADA_24, AMPERE_48"}},
        {"config": {**LISTING["config"], "cudaVersions": ["13.0"]}},
        {"config": {**LISTING["config"], "allowedCudaVersions": ["13"]}},
        {"config": {"runsOn": "GPU", "containerDiskInGb": 5}},
        {"config": {**LISTING["config"], "env": [{"key": "lower", "value": "1"}]}},
        {"config": {**LISTING["config"], "env": [{"key": "A", "input": entry(type="text")}]}},
        {"config": {**LISTING["config"], "env": [{"key": "A", "input": entry(step=1)}]}},
    ],
    ids=[
        "type", "category", "space", "unknown-key", "version", "no-gpu", "name", "kind", "step"
    ],
)  # fmt: skip
def test_hub_schema_rejects_a_wrong_entry(change):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**LISTING, **change}, schema("hub"))


def test_every_form_field_is_a_setting():
    keys = [item["key"] for item in hub(REGISTRY)["config"]["env"]]
    quick = worker_config(REGISTRY)

    assert keys[0] == "MODEL_NAME"
    assert len(keys) == len(set(keys))
    assert set(keys) <= set(REGISTRY.by_variable)
    listed = [
        name
        for version in quick["versions"].values()
        for category in version["categories"]
        for name in category["settings"]
    ]
    assert listed == list(quick["schema"])
    assert set(listed) == set(keys) - {"MODEL_NAME"}


def test_forms_never_ask_for_a_secret():
    secrets = [option.name for option in REGISTRY.options if option.secret]
    text = json.dumps([build(REGISTRY) for build in FORMATS.values()])

    assert secrets
    assert not [name for name in secrets if name in text]


def send_empty_form():
    """Return the variables that the deploy form sends unchanged: 0 for an empty number field."""
    fields = {entry["key"]: entry["input"] for entry in hub(REGISTRY)["config"]["env"]}
    sent = {}
    for name, field in fields.items():
        if field["type"] != "huggingface":
            empty = "0" if field["type"] == "number" else ""
            value = field.get("default", empty)
            sent[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return sent


def test_form_left_alone_starts_with_the_same_engine():
    options = form_options(REGISTRY)
    environ = {"MODEL_NAME": "org/model", **send_empty_form()}
    untouched = load_settings(environ, machine=GPU)
    nothing = load_settings({"MODEL_NAME": "org/model"}, machine=GPU)

    assert untouched.warnings == ()
    neutral = {
        flag
        for option in options
        if option.kind in SWITCH_KINDS and option.engine_default is False
        for flag in (f"--no-{(option.flag or '--')[2:]}",)
    }
    sent = [item for item in untouched.engine_arguments() if item not in neutral]
    defaults = [
        text
        for option in options
        if option.kind in ("integer", "number") and option.engine_default is not None
        for text in (option.flag, str(option.engine_default), str(float(option.engine_default)))
    ]
    added = [item for item in sent if item not in nothing.engine_arguments()]
    assert [item for item in added if item not in defaults] == []


@pytest.mark.parametrize("preset", hub(REGISTRY)["config"]["presets"], ids=lambda p: p["name"])
def test_preset_starts(preset):
    sent = {key: str(value) for key, value in preset["defaults"].items()}
    environ = {**send_empty_form(), **sent}

    assert load_settings(environ, machine=GPU).model.name == preset["defaults"]["MODEL_NAME"]


def test_hub_tests_configuration_starts():
    environ = {item["key"]: item["value"] for item in hub_tests(REGISTRY)["config"]["env"]}

    assert load_settings(environ, machine=GPU).warnings == ()


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("max_model_len: 8k", True),
        ("max_model_len: 8192\nenforce_eager: true\nmodel: org/x", True),
        ("hf_overrides: {a: 1}\nabout: {title: x}", True),
        ("max_model_len: many", False),
        ("max_modle_len: 1", False),
        ("enforce_eager: 'yes please'", False),
        ("dtype: bf16", False),
        ("worker_config: x.yaml", False),
    ],
)
def test_config_schema_checks_a_file(text, valid):
    errors = list(
        jsonschema.Draft202012Validator(schema("config")).iter_errors(yaml.safe_load(text))
    )

    assert (errors == []) is valid


def test_docs_have_an_anchor_for_every_setting():
    pages = {
        name: (ROOT / "docs" / name).read_text()
        for name in ("configuration.md", "engine-options.md")
    }

    for option in REGISTRY.settable():
        assert f"\n### `{option.name}`\n" in pages[option.page]
