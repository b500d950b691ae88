"""What follows from a profile and a command line: the request, the problems, the warnings."""

import json

import pytest

from tests.fakes.runpod_platform import VALIDATOR
from worker.errors import ConfigurationError
from worker.profile import builtin_folder, names
from worker_tools.deploy.options import DeployOptions
from worker_tools.deploy.plan import plan_deployment
from worker_tools.deploy.request import endpoint_body

IMAGE = "you/worker:1.0"
CANARY = "hf_canaryCanary0123456789"


def deployment(environ=None, **options):
    return plan_deployment(DeployOptions(**{"image": IMAGE, **options}), environ or {})


def body(environ=None, **options):
    return endpoint_body(deployment(environ, **options))


def problems(environ=None, **options):
    with pytest.raises(ConfigurationError) as caught:
        deployment(environ, **options)
    return {problem.where: problem for problem in caught.value.problems}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"profile": "qwen3-8b"}, id="queue"),
        pytest.param({"profile": "qwen3-8b", "mode": "load-balancer"}, id="load-balancer"),
        pytest.param(
            {"profile": "qwen3-8b", "scale_by": "delay", "idle_timeout": 120}, id="queue-by-delay"
        ),
        pytest.param(
            {"profile": "llama-3.3-70b", "secret": ["HF_TOKEN=hf"], "network_volume": "vol1"},
            id="several-gpus-secret-volume",
        ),
        pytest.param({"profile": "deepseek-r1-0528"}, id="largest"),
        pytest.param(
            {
                "profile": "bge-m3",
                "mode": "load-balancer",
                "env": ["HTTP_PORT=9000", "PORT_HEALTH=9001"],
                "registry": "cred1",
                "flashboot": False,
            },
            id="ports-and-private-image",
        ),
        pytest.param({"env": ["MODEL_NAME=Qwen/Qwen3-8B-AWQ"]}, id="variant-without-profile"),
        pytest.param(
            {"profile": "qwen3-8b", "gpu": ["H100", "A40"], "workers_min": 1, "workers_max": 9},
            id="chosen-gpus",
        ),
        pytest.param(
            {"env": ["MODEL_NAME=org/unheard-of"], "gpu": ["4090"], "disk": 70, "name": "mine"},
            id="unknown-model",
        ),
        pytest.param(
            {"profile": "qwen3-8b", "env": ['OVERRIDE_GENERATION_CONFIG={"top_k": 5}']},
            id="value-with-quotes",
        ),
    ],
)
def test_request_body_is_valid_and_matches_the_snapshot(options, snapshot):
    sent = body(**options)

    assert [error.message for error in VALIDATOR.iter_errors(sent)] == []
    assert json.dumps(sent, indent=2) == snapshot


@pytest.mark.parametrize("profile", names(builtin_folder()))
def test_request_of_every_profile_is_what_the_api_takes(profile):
    sent = body(profile=profile)

    assert [error.message for error in VALIDATOR.iter_errors(sent)] == []
    assert 1 <= len(sent["gpu"]["pools"]) <= 3
    assert sent["env"]["PROFILE"] == profile


def test_schema_of_the_api_refuses_what_the_api_refuses():
    sent = body(profile="qwen3-8b")
    wrong = [
        {**sent, "workersMax": 3},
        {**sent, "workers": {"idleTimeout": 5}},
        {**sent, "type": "LOAD_BALANCER", "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}},
        {**sent, "env": {"A": 1}},
        {**sent, "gpu": {"count": 1}},
    ]
    assert [VALIDATOR.is_valid(item) for item in wrong] == [False] * len(wrong)


def test_variables_of_the_shell_are_not_sent():
    shell = {"HF_TOKEN": CANARY, "MODEL_NAME": "org/other", "MAX_MODEL_LEN": "x", "TEAM": "red"}

    assert body(shell, profile="qwen3-8b", env=["TEAM"])["env"] == {
        "TEAM": "red",
        "PROFILE": "qwen3-8b",
    }


def test_model_as_the_argument_is_its_name():
    assert body(profile="Qwen/Qwen3-8B")["env"] == {"MODEL_NAME": "Qwen/Qwen3-8B"}


def test_secrets_are_references():
    sent = body(
        profile="llama-3.1-8b",
        secret=["HF_TOKEN", "WORKER_API_KEY=other-key"],
        env=["BUCKET_SECRET_ACCESS_KEY={{ RUNPOD_SECRET_bucket }}"],
    )
    assert sent["env"] == {
        "BUCKET_SECRET_ACCESS_KEY": "{{ RUNPOD_SECRET_bucket }}",
        "HF_TOKEN": "{{ RUNPOD_SECRET_HF_TOKEN }}",
        "WORKER_API_KEY": "{{ RUNPOD_SECRET_other-key }}",
        "PROFILE": "llama-3.1-8b",
    }


@pytest.mark.parametrize(
    ("options", "where", "words"),
    [
        ({"image": None}, "--image", "no image is given"),
        ({"profile": None}, "PROFILE", "no model is given"),
        ({"profile": "qwen3-9b"}, "PROFILE", "no such profile"),
        ({"profile": "mine.yaml"}, "PROFILE", "is a file"),
        ({"env": ["PROFILE=bge-m3"]}, "--env PROFILE", "one of the two"),
        ({"profile": "o/x", "env": ["MODEL_NAME=o/y"]}, "--env MODEL_NAME", "one of the two"),
        ({"env": ["MAX_CONCURENCY=3"]}, "MAX_CONCURENCY", "unknown variable"),
        ({"env": ["MAX_CONCURRENCY=x"]}, "MAX_CONCURRENCY", "integer"),
        ({"env": ["=x"]}, "--env", "not a valid"),
        ({"env": ["ABSENT"]}, "--env ABSENT", "not set in this shell"),
        ({"env": [f"HF_TOKEN={CANARY}"]}, "--env HF_TOKEN", "is a secret"),
        ({"env": [f"MY_API_KEY={CANARY}"]}, "--env MY_API_KEY", "is a secret"),
        ({"env": ["HF_TOKEN"]}, "--env HF_TOKEN", "is a secret"),
        ({"secret": [f"HF_TOKEN=a {CANARY}"]}, "--secret HF_TOKEN", "not its value"),
        ({"env": ["WORKER_MODE=pod"]}, "--env WORKER_MODE", "--mode is queue"),
        ({"name": "ab"}, "--name", "not a valid name of an endpoint"),
        (
            {"profile": None, "env": ["MODEL_NAME=o/x"], "gpu": ["L4"], "disk": 9},
            "--name",
            "model's name is not valid",
        ),
        ({"workers_min": 4}, "--workers-min", "too many"),
        ({"mode": "load-balancer", "scale_by": "delay"}, "--scale-by", "no queue"),
        ({"scale_value": 1.5}, "--scale-value", "not a number of requests"),
        ({"idle_timeout": 9}, "--idle-timeout", "not accept an idle timeout"),
        ({"gpu": ["4091"]}, "--gpu", "no RunPod pool"),
        ({"gpu": ["L4"], "gpus": 1}, "--gpu", "not a request of 40,960 tokens"),
        ({"profile": "deepseek-r1-0528", "gpus": 1}, "--gpu", "cannot hold"),
        ({"profile": None, "env": ["MODEL_NAME=org/new"], "disk": 70}, "--gpu", "nothing is known"),
        ({"profile": None, "env": ["MODEL_NAME=org/new"], "gpu": ["L4"]}, "--disk", "not known"),
        ({"env": ["TENSOR_PARALLEL_SIZE=2"], "gpus": 1}, "TENSOR_PARALLEL_SIZE", "2 GPUs"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_wrong_option_is_a_problem_at_its_place(options, where, words):
    found = problems({"HF_TOKEN": CANARY}, **{"profile": "qwen3-8b", **options})

    text = str(found[where])
    assert words in text
    assert CANARY not in text


KEYS = [
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
    "sk-proj-a1B2c3D4e5F6g7H8i9J0k1L2m3N4",
    "sk-ant-api03-a1B2c3D4e5F6g7H8",
    "rpa_A1B2C3D4E5F6G7H8I9J0K1L2M3N4O5P6",
    "ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "AKIAIOSFODNN7EXAMPLEA",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
    "0f8fad5b-d9cb-469f-a165-70867728950e",
    "9e107d9d372bb6826bd81d3542a419d6",
    "q8Zr2LmX7vKp4TnW9sYd",
    "abcdefghijklmnopqrstuvwxyzabcdefgh",
    "a1/b2+c3/d4+e5",
]

NAMES = [
    "hf",
    "HF_TOKEN",
    "hf_token_of_the_production_team",
    "hf_internationalization",
    "sk-production-key",
    "my-hugging-face-token-2024",
    "MyHuggingFaceTokenForProduction",
    "llama33instructproduction2024",
    "WORKER_API_KEY_v2",
    "AKIA",
    "team7_gpu24_key3_v10",
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"secret": ["HF_TOKEN={}"]}, id="secret"),
        pytest.param({"secret": ["{}"]}, id="secret alone"),
        pytest.param({"secret": ["{}=HF_TOKEN"]}, id="swapped"),
        pytest.param({"env": ["{}"]}, id="variable"),
        pytest.param({"env": ["{}=x"]}, id="variable with a value"),
        pytest.param({"env": ["HF_TOKEN={}"]}, id="value"),
    ],
)
def test_key_in_place_of_a_name_is_refused_and_not_repeated(options, key):
    given = {name: [text.format(key) for text in texts] for name, texts in options.items()}
    found = problems(profile="qwen3-8b", **given)
    assert len(found) == 1
    assert next(iter(found)).startswith("--")
    assert key not in repr(found)


@pytest.mark.parametrize("key", [key for key in KEYS if key[:3] in ("hf_", "sk-", "rpa", "ghp")])
def test_key_as_the_value_of_any_variable_is_refused(key):
    found = problems(profile="qwen3-8b", env=[f"OTHER={key}"])
    assert "is a secret" in str(found["--env OTHER"])
    assert key not in repr(found)


@pytest.mark.parametrize("name", NAMES)
def test_name_of_a_secret_is_accepted(name):
    assert body(profile="qwen3-8b", secret=[f"HF_TOKEN={name}"])["env"]["HF_TOKEN"] == (
        f"{{{{ RUNPOD_SECRET_{name} }}}}"
    )


def test_all_problems_are_found_at_once():
    found = problems(
        profile="nope", image=None, workers_min=7, env=["HF_TOKEN=hf_secret", "MAX_NUM_SEQS=x"]
    )
    assert set(found) == {"PROFILE", "--image", "--workers-min", "--env HF_TOKEN", "MAX_NUM_SEQS"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "you/worker"}, "without a unique tag"),
        ({"image": "host:5000/you/worker"}, "without a unique tag"),
        ({"image": "you/worker:latest"}, "without a unique tag"),
        ({"profile": "llama-3.1-8b"}, "gated"),
        ({"env": ["MAX_CONCURRENCY=5", "DEFAULT_MIN_BATCH_SIZE=90"]}, "DEFAULT_MIN_BATCH_SIZE"),
        (
            {"profile": None, "env": ["MODEL_NAME=org/new"], "gpu": ["L4"], "disk": 70},
            "not checked",
        ),
    ],
)
def test_plan_warns_of_what_may_not_work(options, words):
    [warning] = deployment(**{"profile": "qwen3-8b", **options}).warnings

    assert words in str(warning)


@pytest.mark.parametrize(
    "options",
    [
        {"image": "host:5000/you/worker:1.0"},
        {"image": f"you/worker@sha256:{'0' * 64}"},
        {"profile": "llama-3.1-8b", "secret": ["HF_TOKEN"]},
    ],
)
def test_plan_of_a_fitting_deployment_has_no_warning(options):
    assert deployment(**{"profile": "qwen3-8b", **options}).warnings == ()


@pytest.mark.parametrize(
    ("options", "disk"),
    [
        ({}, 40),
        ({"env": ["QUANTIZATION=fp8"]}, 40),
        ({"profile": None, "env": ["MODEL_NAME=Qwen/Qwen3-8B-AWQ"]}, 30),
        ({"network_volume": "vol1"}, 20),
        ({"disk": 99}, 99),
    ],
    ids=["weights", "quantised-at-start", "variant", "volume", "chosen"],
)
def test_disk_has_room_for_the_weights(options, disk):
    assert body(**{"profile": "qwen3-8b", **options})["disk"] == disk


@pytest.mark.parametrize(
    ("profile", "env", "seconds"),
    [
        ("qwen3-8b", [], None),
        ("llama-3.3-70b-fp8", [], "720"),
        ("llama-3.3-70b-fp8", ["START_TIMEOUT_S=500"], "500"),
        ("qwen3-8b", ["RUNPOD_INIT_TIMEOUT=900"], "900"),
    ],
    ids=["small", "large", "chosen", "chosen-by-the-platforms-name"],
)
def test_init_timeout_follows_the_size_of_the_model(profile, env, seconds):
    assert body(profile=profile, env=env)["env"].get("RUNPOD_INIT_TIMEOUT") == seconds


@pytest.mark.parametrize(
    ("env", "milliseconds"), [([], 600_000), (["REQUEST_TIMEOUT_S=1800"], 1_800_000)]
)
def test_execution_timeout_is_that_of_the_request_timeout(env, milliseconds):
    assert body(profile="qwen3-8b", env=env)["timeout"] == milliseconds


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        ({}, 43),
        ({"scale_value": 8}, 8),
        ({"env": ["MAX_CONCURRENCY=16"]}, 16),
        ({"env": ["MAX_NUM_SEQS=12"]}, 12),
        ({"profile": "bge-m3"}, 256),
    ],
    ids=["cache", "chosen", "worker-takes-fewer", "vllm-runs-fewer", "keeps-no-cache"],
)
def test_scale_value_is_what_one_worker_takes_at_once(options, requests):
    sent = body(**{"profile": "qwen3-8b", **options})

    assert sent["scaling"] == {"type": "REQUEST_COUNT", "requestCount": requests}
