"""`worker deploy` against RunPod's API on loopback: what it sends, prints, and how it ends."""

import io
import json
import logging

import pytest
from rich.console import Console

from tests.fakes.runpod_platform import KEY, Fault, RunpodApi
from worker.errors import ExitCode
from worker_tools.deploy.command import run_deploy
from worker_tools.deploy.options import DeployOptions

REFUSED = [
    pytest.param(
        Fault(401, {"title": "Unauthorized", "status": 401, "detail": f"bad token {KEY}"}),
        ExitCode.FAILURE,
        ["(401)", "bad token [redacted]", "check RUNPOD_API_KEY"],
        id="wrong-key",
    ),
    pytest.param(
        Fault(403, {"title": "Forbidden", "status": 403, "detail": "access denied"}),
        ExitCode.FAILURE,
        ["(403)", "access denied", "write access to endpoints"],
        id="key-without-the-right",
    ),
    pytest.param(
        Fault(400, {"title": "Bad Request", "status": 400, "detail": "workers quota is 5"}),
        ExitCode.FAILURE,
        ["(400)", "workers quota is 5", "nothing was created"],
        id="quota",
    ),
    pytest.param(
        Fault(404, {"title": "Not Found", "status": 404, "detail": "volume not found"}),
        ExitCode.FAILURE,
        ["(404)", "volume not found", "network volume or registry credential"],
        id="unknown-id",
    ),
    pytest.param(
        Fault(422, {"title": "Invalid", "detail": "no", "errors": ["$.gpu: a", "$.env: b"]}),
        ExitCode.FAILURE,
        ["(422)", "no; $.gpu: a; $.env: b"],
        id="several-errors",
    ),
    pytest.param(
        Fault(429, {"title": "Too Many", "detail": "rate limit"}, (("Retry-After", "12"),)),
        ExitCode.FAILURE,
        ["(429)", "rate limit; try again in 12 s"],
        id="too-many-requests",
    ),
    pytest.param(
        Fault(307, "", (("Location", "http://127.0.0.1:1/elsewhere"),)),
        ExitCode.FAILURE,
        ["(307)", "no explanation"],
        id="redirect-is-not-followed",
    ),
]


@pytest.fixture
def api():
    with RunpodApi() as account:
        yield account


@pytest.fixture
def deploy():
    """Run the command and return its exit status and what it printed."""

    def run(environ, timeout_s=10.0, **options):
        out = io.StringIO()
        console = Console(file=out, width=160, highlight=False, color_system=None)
        asked = DeployOptions(**{"profile": "qwen3-8b", "image": "you/worker:1.0", **options})
        code = run_deploy(environ, asked, console=console, timeout_s=timeout_s)
        return code, out.getvalue()

    return run


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="queue"),
        pytest.param(
            {
                "profile": "llama-3.3-70b",
                "mode": "load-balancer",
                "network_volume": "vol1",
                "workers_min": 1,
            },
            id="load-balancer",
        ),
        pytest.param({"scale_by": "delay", "disk": 60, "gpu": ["A40", "5090"]}, id="unpriced-pool"),
    ],
)
def test_dry_run_shows_everything_and_sends_nothing(deploy, api, options, snapshot):
    code, text = deploy(api.environ, **options)

    assert (code, api.asked) == (ExitCode.OK, [])
    assert text == snapshot


def test_dry_run_needs_no_key(deploy):
    assert deploy({})[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("options", "base"),
    [
        ({}, "https://api.runpod.ai/v2/ep0x2k9q/openai/v1"),
        ({"mode": "load-balancer"}, "https://ep0x2k9q.api.runpod.ai/v1"),
    ],
    ids=["queue", "load-balancer"],
)
def test_execute_creates_what_the_dry_run_shows(deploy, api, options, base):
    _, shown = deploy(api.environ, as_json=True, **options)
    code, text = deploy(api.environ, execute=True, **options)

    assert code == ExitCode.OK
    requests = json.loads(shown)["requests"]
    assert [(request["method"], request["url"]) for request in requests] == [
        (method, api.url + path) for method, path, _, _ in api.asked
    ]
    assert [requests[1]["body"]] == api.bodies()
    assert {headers["Authorization"] for _, _, headers, _ in api.asked} == {f"Bearer {KEY}"}
    assert "https://console.runpod.io/serverless/user/endpoint/ep0x2k9q" in text
    assert f"base URL     {base}\n" in text
    assert f"curl {base}/chat/completions" in text
    assert '"model": "Qwen/Qwen3-8B"' in text
    assert "$RUNPOD_API_KEY" in text


@pytest.mark.parametrize(
    ("profile", "path", "words"),
    [
        ("bge-m3", "/embeddings", '"input"'),
        ("bge-reranker-v2-m3", "/rerank", '"documents"'),
        ("whisper-large-v3", "/models", "Bearer"),
    ],
)
def test_first_request_is_one_that_the_model_answers(deploy, api, profile, path, words):
    _, text = deploy(api.environ, execute=True, profile=profile)

    request = text.partition("curl ")[2]
    assert request.split()[0].endswith(f"/openai/v1{path}")
    assert words in request


def test_execute_as_json_is_one_object(deploy, api):
    code, text = deploy(api.environ, execute=True, as_json=True)

    data = json.loads(text)
    assert (code, data["ok"]) == (ExitCode.OK, True)
    assert data["endpoint"]["id"] == "ep0x2k9q"
    assert data["endpoint"]["base_url"] == "https://api.runpod.ai/v2/ep0x2k9q/openai/v1"


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("fault", "status", "words"), REFUSED)
def test_rejection_by_runpod_is_repeated_and_creates_nothing(
    deploy, api, method, fault, status, words, as_json
):
    api.faults[method] = fault
    code, text = deploy(api.environ, execute=True, as_json=as_json)

    assert code == status
    said = json.loads(text)["error"] if as_json else text
    assert [word for word in words if word not in said] == []
    assert api.endpoints == []


@pytest.mark.parametrize("name", ["qwen3-8b", "qwen3-8b -fb"], ids=["same", "marked-flashboot"])
def test_name_that_exists_is_left_alone(deploy, api, name):
    api.endpoints = [{"id": "other", "name": "else"}, {"id": "old1", "name": name}]
    code, text = deploy(api.environ, execute=True)

    assert (code, api.bodies()) == (ExitCode.FAILURE, [])
    assert f"an endpoint named {name} exists already: old1" in text
    assert "https://console.runpod.io/serverless/user/endpoint/old1" in text
    assert "--name" in text


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(carried_out=True), id="connection-lost"),
        pytest.param(Fault(carried_out=True, hangs=True), id="no-answer-in-time"),
        pytest.param(Fault(502, "<html>Bad gateway</html>", carried_out=True), id="gateway"),
        pytest.param(Fault(201, {"name": "qwen3-8b"}, carried_out=True), id="answer-without-id"),
    ],
)
def test_endpoint_whose_answer_is_lost_is_found_by_name(deploy, api, fault):
    api.faults["POST"] = fault
    code, text = deploy(api.environ, timeout_s=0.5, execute=True)

    assert code == ExitCode.OK
    assert "Created endpoint ep0x2k9q" in text
    assert len(api.bodies()) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param(Fault(), "RunPod did not answer", id="connection-lost"),
        pytest.param(Fault(hangs=True), "no answer in time", id="no-answer-in-time"),
        pytest.param(Fault(503, "busy"), "RunPod answered 503: busy", id="server-error"),
    ],
)
def test_request_that_may_have_been_lost_says_so(deploy, api, fault, words):
    api.faults["POST"] = fault
    code, text = deploy(api.environ, timeout_s=0.5, execute=True)

    assert code == ExitCode.UNAVAILABLE
    assert words in text
    assert "No endpoint qwen3-8b was found. Run the command again" in text
    assert len(api.bodies()) == 1


def test_request_of_unknown_outcome_says_so(deploy, api):
    api.faults = {"POST": Fault(carried_out=True), "GET": Fault(after=1)}
    code, text = deploy(api.environ, execute=True)

    assert code == ExitCode.UNAVAILABLE
    assert "It is not known whether the endpoint qwen3-8b exists now. Run the command again" in text


def test_api_that_cannot_be_reached_says_so(deploy):
    with RunpodApi() as gone:
        environ = gone.environ
    code, text = deploy(environ, execute=True)

    assert code == ExitCode.UNAVAILABLE
    assert "cannot be reached" in text
    assert "nothing was created" in text


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, "RUNPOD_API_KEY: is not set"),
        ({"RUNPOD_API_KEY": "  "}, "RUNPOD_API_KEY: is not set"),
        ({"RUNPOD_API_KEY": "rpa_1\nX: y"}, "has characters that a key cannot contain"),
        (
            {"RUNPOD_API_KEY": KEY, "RUNPOD_API_BASE_URL": "http://192.0.2.1"},
            "RUNPOD_API_BASE_URL: is not encrypted",
        ),
    ],
    ids=["absent", "blank", "not-a-key", "plain-http"],
)
def test_access_is_checked_with_everything_else(deploy, environ, words):
    code, text = deploy(environ, execute=True, image=None)

    assert code == ExitCode.CONFIGURATION
    assert "2 configuration problems; nothing was created." in text
    assert words in text


def test_problems_of_the_command_line_are_json_if_asked(deploy):
    code, text = deploy({}, as_json=True, image=None, gpu=["nothing"])

    data = json.loads(text)
    assert (code, data["ok"]) == (ExitCode.CONFIGURATION, False)
    assert [problem["where"] for problem in data["problems"]] == ["--gpu", "--image"]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize(
    "fault",
    [
        None,
        Fault(400, {"detail": f"token {KEY} of quota", "errors": [KEY]}),
        Fault(500, f"<pre>Authorization: Bearer {KEY}</pre>"),
        Fault(),
    ],
    ids=["created", "refused", "failed", "lost"],
)
def test_api_key_is_in_no_output(deploy, api, fault, as_json, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    if fault is not None:
        api.faults["POST"] = fault
    _, text = deploy(api.environ, execute=True, as_json=as_json)

    captured = capfd.readouterr()
    assert KEY in str(api.asked)
    assert KEY not in text + captured.out + captured.err + caplog.text
