import pytest

from worker.errors import RequestError
from worker.request.routes import ROUTES, find_route, resolve_route


def resolve(text: object, method: object = None, **options: bool):
    options = {"has_body": True, "open_control": False, **options}
    return resolve_route(text, method, param="route", **options)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("chat/completions", "/v1/chat/completions"),
        ("/openai/v1/models", "/v1/models"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1//chat/completions", "/v1/chat/completions"),
        (" /v1/models ", "/v1/models"),
        ("/score", "/score"),
        ("/v1/models?limit=5", "/v1/models?limit=5"),
        ("/v1/models?", "/v1/models"),
        ("/v1/responses/resp_a-1", "/v1/responses/resp_a-1"),
        ("responses/resp_1/cancel", "/v1/responses/resp_1/cancel"),
    ],
)
def test_resolve_route_plain_path_is_found(text, path):
    assert resolve(text)[1] == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/v1/../sleep",
        "/v1/./models",
        "http://evil.example/v1/models",
        "/v1/%6dodels",
        "/v1/models\r\nHost: evil",
        "/v1/models#part",
        "/v1\\models",
        "/v1/modéls",
        "/v1/models?a=b c",
        "/v1/models?x=/../",
        "/v1/" + "a" * 600,
        "/.../sleep",
    ],
)
def test_resolve_route_anything_but_a_plain_path_is_refused(text):
    with pytest.raises(RequestError) as caught:
        resolve(text)

    assert caught.value.code == "invalid_route"
    assert caught.value.param == "route"


@pytest.mark.parametrize("text", [None, 5, ["/v1/models"], {}])
def test_resolve_route_not_text_is_refused(text):
    with pytest.raises(RequestError, match="expected a path"):
        resolve(text)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/v1/embedding", "/v1/embeddings"),
        ("/embedding", "/v1/embeddings"),
        ("/tokenise", "/tokenize"),
        ("//evil.example:80/v1/models", "docs/requests.md"),
    ],
)
def test_resolve_route_unknown_names_the_nearest(text, near):
    with pytest.raises(RequestError) as caught:
        resolve(text)

    assert (caught.value.code, caught.value.status) == ("unknown_route", 404)
    assert near in caught.value.message


def test_resolve_route_unknown_does_not_suggest_closed_routes():
    with pytest.raises(RequestError) as caught:
        resolve("/slep")

    assert "/sleep" not in caught.value.message


@pytest.mark.parametrize("route", [r for r in ROUTES if r.access == "closed"], ids=lambda r: r.path)
def test_resolve_route_closed_route_needs_the_setting(route):
    with pytest.raises(RequestError) as caught:
        resolve(route.path)

    assert (caught.value.code, caught.value.status) == ("route_closed", 403)
    assert resolve(route.path, open_control=True)[2] == route


@pytest.mark.parametrize(
    "path",
    [
        "/shutdown_weight_transfer_engine",
        "/sleep",
        "/wake_up",
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/reset_prefix_cache",
        "/start_profile",
        "/collective_rpc",
        "/server_info",
        "/abort_requests",
        "/update_weights",
        "/metrics",
        "/invocations",
    ],
)
def test_routes_that_control_the_server_are_closed(path):
    route = find_route(path)

    assert route is not None
    assert route.access == "closed"


@pytest.mark.parametrize(
    ("text", "method", "has_body", "expected"),
    [
        ("/v1/models", None, False, "GET"),
        ("/v1/models", None, True, "GET"),
        ("/v1/completions", None, False, "POST"),
        ("/v1/completions", "post", True, "POST"),
        ("/ping", None, False, "GET"),
        ("/ping", None, True, "POST"),
        ("/ping", "POST", False, "POST"),
    ],
)
def test_resolve_route_method_is_inferred_or_checked(text, method, has_body, expected):
    assert resolve(text, method, has_body=has_body)[0] == expected


@pytest.mark.parametrize(
    ("text", "method", "words"),
    [
        ("/v1/models", "POST", "takes GET, got 'POST'"),
        ("/v1/completions", "DELETE", "takes POST"),
        ("/ping", 5, "GET or POST, got an integer"),
    ],
)
def test_resolve_route_wrong_method_is_refused(text, method, words):
    with pytest.raises(RequestError) as caught:
        resolve(text, method)

    assert (caught.value.code, caught.value.status) == ("method_not_allowed", 405)
    assert words in caught.value.message
