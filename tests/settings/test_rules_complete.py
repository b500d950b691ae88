"""Mistakes that vLLM would find only after it has started: `worker check` finds them."""

import json

import pytest
from typer.testing import CliRunner

from worker.cli import app
from worker.errors import ExitCode

ENGINE = {"CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def run_check():
    """Run `worker check --json` for an environment; return its exit status and data."""

    def run(environ):
        result = CliRunner().invoke(app, ["check", "--json"], env={**ENGINE, **environ})
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, json.loads(result.output)

    return run


WRONG = {
    "overrides": ({"HF_OVERRIDES": "[1,2]"}, "HF_OVERRIDES", "not a JSON object"),
    "template-syntax": (
        {"CUSTOM_CHAT_TEMPLATE": "{% for m in x %}"},
        "CUSTOM_CHAT_TEMPLATE",
        "line 1",
    ),
    "template-filter": (
        {"CUSTOM_CHAT_TEMPLATE": "{{ x }}\n{{ messages | jsonify }}"},
        "CUSTOM_CHAT_TEMPLATE",
        "line 2: No filter named 'jsonify'",
    ),
    "template-file": ({"CHAT_TEMPLATE": "/nowhere/x.jinja"}, "CHAT_TEMPLATE", "no such file"),
    "model-url": (
        {"MODEL_NAME": "https://example.com/m"},
        "MODEL_NAME",
        "not the Hugging Face hub",
    ),
    "model-space": ({"MODEL_NAME": "Qwen/Qwen3 8B"}, "MODEL_NAME", "has no spaces"),
    "model-tag": ({"MODEL_NAME": "org/name:Q4_K_M"}, "MODEL_NAME", "after the colon"),
    "model-ollama": ({"MODEL_NAME": "qwen3:8b"}, "MODEL_NAME", "has no colon"),
    "model-gguf": ({"MODEL_NAME": "org/name-GGUF"}, "MODEL_NAME", "GGUF"),
    "model-revisions": (
        {"MODEL_NAME": "org/name@v1", "MODEL_REVISION": "v2"},
        "MODEL_NAME",
        "contains revision 'v1'",
    ),
    "seed": ({"SEED": "-1"}, "SEED", "out of range"),
    "tokenizer": ({"TOKENIZER": "/nowhere/t"}, "TOKENIZER", "no such folder"),
    "tokenizer-url": (
        {"TOKENIZER": "https://example.com/t"},
        "TOKENIZER",
        "not the Hugging Face hub",
    ),
    "plugin": ({"TOOL_PARSER_PLUGIN": "/nowhere/p.py"}, "TOOL_PARSER_PLUGIN", "no such file"),
    "reasoning-plugin": (
        {"REASONING_PARSER_PLUGIN": "/nowhere/p.py"},
        "REASONING_PARSER_PLUGIN",
        "no such file",
    ),
    "adapter": (
        {"LORA_MODULES": "sql=/nowhere/sql", "ENABLE_LORA": "true"},
        "LORA_MODULES",
        "an adapter cannot be loaded: no such folder",
    ),
    "adapters": (
        {"LORA_ALLOWED": "org/*,/nowhere/adapters"},
        "LORA_ALLOWED",
        "no such folder: /nowhere/adapters",
    ),
    "draft": (
        {"SPECULATIVE_CONFIG": '{"model": "/nowhere/d", "num_speculative_tokens": 2}'},
        "SPECULATIVE_CONFIG",
        "no such file or folder at model",
    ),
    "media-folder": (
        {"ALLOWED_LOCAL_MEDIA_PATH": "/nowhere"},
        "ALLOWED_LOCAL_MEDIA_PATH",
        "no such",
    ),
    "generation": ({"GENERATION_CONFIG": "/nowhere/g"}, "GENERATION_CONFIG", "no such folder"),
    "media-limit": (
        {"LIMIT_MM_PER_PROMPT": '{"image": -1}'},
        "LIMIT_MM_PER_PROMPT",
        "out of range",
    ),
    "health-path": (
        {"HEALTH_CHECK_PATH": "health"},
        "HEALTH_CHECK_PATH",
        "not in the right format",
    ),
    "api-key": ({"VLLM_API_KEY": "EMPTY"}, "VLLM_API_KEY", "too short"),
    "engine-variable": ({"VLLM_LOGING_LEVEL": "DEBUG"}, "VLLM_LOGING_LEVEL", "no such variable"),
    "engine-alias": ({"VLLM_ATTENTION_BACKEN": "X"}, "VLLM_ATTENTION_BACKEN", "no such variable"),
    "long-path": ({"TOKENIZER": "/" + "x" * 5000}, "TOKENIZER", "no such folder"),
}


@pytest.mark.parametrize(("environ", "where", "fragment"), WRONG.values(), ids=WRONG)
def test_check_mistake_names_the_setting_and_the_remedy(run_check, environ, where, fragment):
    status, data = run_check({"MODEL_NAME": "org/name", **environ})
    assert status == ExitCode.CONFIGURATION
    assert [problem["where"] for problem in data["problems"]] == [where]
    [problem] = data["problems"]
    assert fragment in problem["message"]
    assert problem["expected"] or problem["suggestions"]


@pytest.mark.parametrize("name", ["MODEL", "MODEL_ID", "HF_MODEL_ID", "HF_MODEL", "VLLM_MODEL"])
def test_check_refuses_a_model_that_another_variable_names(run_check, name):
    status, data = run_check({name: "Qwen/Qwen3-8B"})
    assert status == ExitCode.CONFIGURATION
    assert [problem["where"] for problem in data["problems"]] == [name]
    assert "MODEL_NAME=Qwen/Qwen3-8B" in data["problems"][0]["expected"]


def test_check_leaves_other_variables_alone_where_the_model_is_named(run_check):
    assert run_check({"MODEL": "x", "MODEL_ID": "y", "MODEL_NAME": "org/name"})[0] == ExitCode.OK
    assert run_check({"MODEL": "x", "PROFILE": "qwen3-8b"})[0] == ExitCode.OK
    assert run_check({"MODEL": "x", "WORKER_ALLOWED_VARIABLES": "MODEL"})[0] == ExitCode.OK


READ = {
    "https://huggingface.co/Qwen/Qwen3-8B": ("Qwen/Qwen3-8B", None),
    "https://huggingface.co/Qwen/Qwen3-8B/": ("Qwen/Qwen3-8B", None),
    "Qwen/Qwen3-8B/": ("Qwen/Qwen3-8B", None),
    "http://hf.co/Qwen/Qwen3-8B?x=1#y": ("Qwen/Qwen3-8B", None),
    "https://huggingface.co/Qwen/Qwen3-8B/tree/refs%2Fpr%2F1": ("Qwen/Qwen3-8B", "refs/pr/1"),
    "https://huggingface.co/Qwen/Qwen3-8B.git": ("Qwen/Qwen3-8B", None),
    "huggingface.co/Qwen/Qwen3-8B": ("Qwen/Qwen3-8B", None),
    "hf://Qwen/Qwen3-8B": ("Qwen/Qwen3-8B", None),
    "hf://Qwen/Qwen3-8B@v1.0": ("Qwen/Qwen3-8B", "v1.0"),
    '"Qwen/Qwen3-8B"': ("Qwen/Qwen3-8B", None),
    "'Qwen/Qwen3-8B'": ("Qwen/Qwen3-8B", None),
    "Qwen/Qwen3-8B:main": ("Qwen/Qwen3-8B", "main"),
    "Qwen/Qwen3-8B:0123456789abcdef0123456789abcdef01234567": (
        "Qwen/Qwen3-8B",
        "0123456789abcdef0123456789abcdef01234567",
    ),
}


@pytest.mark.parametrize(("text", "meant"), READ.items())
def test_check_takes_a_name_with_one_meaning_and_reports_it(run_check, text, meant):
    status, data = run_check({"MODEL_NAME": text})
    name, revision = meant
    assert status == ExitCode.OK
    arguments = data["engine_arguments"]
    assert arguments[:4] == ["--model", name, "--served-model-name", name]
    assert ("--revision" in arguments) == (revision is not None)
    assert revision is None or arguments[arguments.index("--revision") + 1] == revision
    [warning] = [w for w in data["warnings"] if w["where"] == "MODEL_NAME"]
    assert warning["message"].startswith(f"read as {name}")


@pytest.mark.parametrize(
    "text",
    ["org/name", "name", "gpt2", "Org-1/na.me_2-x", "s3://bucket/model", "gs://bucket/model"],
)
def test_check_leaves_a_plain_name_alone(run_check, text):
    status, data = run_check({"MODEL_NAME": text})
    assert status == ExitCode.OK
    assert data["engine_arguments"][1] == text
    assert [w for w in data["warnings"] if w["where"] == "MODEL_NAME"] == []


def test_check_finds_the_profile_of_a_model_named_by_its_address(run_check):
    _status, data = run_check({"MODEL_NAME": "https://huggingface.co/Qwen/Qwen3-8B"})
    values = {item["name"]: item["value"] for item in data["settings"]}
    assert values["PROFILE"] == "qwen3-8b"


@pytest.mark.parametrize(
    ("files", "fragment"),
    [
        (["model-Q4_K_M.gguf"], "GGUF weights only"),
        (["model-Q4_K_M.gguf", "config.json"], "GGUF weights only"),
        (["readme.txt"], "holds no model"),
    ],
)
def test_check_folder_that_vllm_cannot_load_is_refused(run_check, tmp_path, files, fragment):
    for name in files:
        (tmp_path / name).touch()
    status, data = run_check({"MODEL_NAME": str(tmp_path)})
    assert status == ExitCode.CONFIGURATION
    assert fragment in data["problems"][0]["message"]


def test_check_accepts_a_folder_with_gguf_next_to_other_weights(run_check, tmp_path):
    for name in ("model-Q4_K_M.gguf", "model.safetensors", "config.json"):
        (tmp_path / name).touch()
    assert run_check({"MODEL_NAME": str(tmp_path)})[0] == ExitCode.OK


def test_check_suggests_a_name_without_its_spaces(run_check):
    _status, data = run_check({"MODEL_NAME": "Qwen / Qwen3 8B"})
    assert data["problems"][0]["suggestions"] == ["Qwen/Qwen3-8B", "Qwen/Qwen38B"]


def test_check_accepts_paths_that_exist(run_check, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "chat.jinja").write_text("{% for m in messages %}{{ m | tojson }}{% endfor %}")
    environ = {
        "MODEL_NAME": str(tmp_path),
        "TOKENIZER": str(tmp_path),
        "CHAT_TEMPLATE": str(tmp_path / "chat.jinja"),
        "TOOL_PARSER_PLUGIN": str(tmp_path / "config.json"),
        "ENABLE_LORA": "true",
        "LORA_ALLOWED": f"org/*,{tmp_path}",
        "LORA_MODULES": f"a={tmp_path} b=org/adapter",
        "ALLOWED_LOCAL_MEDIA_PATH": str(tmp_path),
        "GENERATION_CONFIG": str(tmp_path),
    }
    assert run_check(environ)[0] == ExitCode.OK


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content }}",
        "{% generation %}{{ x }}{% endgeneration %}",
        "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{% endfor %}",
        "{{ raise_exception('no') }}{{ strftime_now('%d') }}{{ tools | tojson(indent=4) }}",
        "{% if 'jsonify' is filter %}{{ x | jsonify }}{% endif %}",
    ],
)
def test_check_accepts_what_transformers_renders(run_check, template):
    assert run_check({"MODEL_NAME": "org/name", "CUSTOM_CHAT_TEMPLATE": template})[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("VLLM_USE_V1", "0.11 was the last that did"),
        ("VLLM_ENGINE_ITERATION_TIMEOUT_S", "0.31 was the last that did"),
        ("VLLM_CHAT_TEMPLATE_FUEL", "0.33 is the first that does"),
        ("VLLM_ENTIRELY_OWN_NAME", "no such variable"),
    ],
)
def test_check_warns_of_a_variable_of_another_release(run_check, name, fragment):
    status, data = run_check({"MODEL_NAME": "org/name", name: "1"})
    assert status == ExitCode.OK
    assert next(w["message"] for w in data["warnings"] if w["where"] == name).endswith(fragment)


@pytest.mark.parametrize("name", ["VLLM_SERVICE_HOST", "VLLM_PORT_8000_TCP", "VLLM_BUILD_COMMIT"])
def test_check_says_nothing_of_variables_that_clusters_and_builds_set(run_check, name):
    _status, data = run_check({"MODEL_NAME": "org/name", name: "1"})
    assert [w for w in data["warnings"] if w["where"] == name] == []
