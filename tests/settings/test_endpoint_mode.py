"""Where requests come from: what is said, then what the platform's variables say."""

import pytest

from worker.errors import UnavailableError
from worker.settings.endpoint import (
    ENDPOINT,
    JOB_SOURCE,
    POD,
    EndpointSettings,
    choose_mode,
    choose_ports,
)

QUEUE = {JOB_SOURCE: "http://x/$ID"}
SERVERLESS = {ENDPOINT: "e1", POD: "p1"}


@pytest.mark.parametrize(
    ("mode", "environ", "chosen"),
    [
        pytest.param("auto", {**QUEUE, **SERVERLESS}, "queue", id="queue"),
        pytest.param("auto", SERVERLESS, "load-balancer", id="endpoint without a queue"),
        pytest.param("auto", {POD: "p1"}, "pod", id="pod"),
        pytest.param("pod", {**QUEUE, **SERVERLESS}, "pod", id="said, against all signs"),
        pytest.param("load-balancer", QUEUE, "load-balancer", id="load balancer, said"),
        pytest.param("queue", QUEUE, "queue", id="queue, said"),
    ],
)
def test_choose_mode_follows_setting_and_platform(mode, environ, chosen):
    assert choose_mode(EndpointSettings(mode=mode), environ) == chosen


@pytest.mark.parametrize(
    ("mode", "environ"),
    [("auto", {}), ("auto", {JOB_SOURCE: ""}), ("queue", SERVERLESS)],
    ids=["nothing said", "empty", "queue wanted, none there"],
)
def test_choose_mode_without_a_source_says_what_to_do(mode, environ):
    with pytest.raises(UnavailableError, match=f"{JOB_SOURCE}.*worker dev.*--mode pod"):
        choose_mode(EndpointSettings(mode=mode), environ)


@pytest.mark.parametrize(
    ("settings", "mode", "ports"),
    [
        ({}, "load-balancer", (80, 80)),
        ({}, "pod", (8000, 8000)),
        ({"http_port": 9000}, "load-balancer", (9000, 9000)),
        ({"health_port": 81}, "load-balancer", (80, 81)),
    ],
)
def test_choose_ports_takes_settings_or_the_modes_defaults(settings, mode, ports):
    assert choose_ports(EndpointSettings(**settings), mode) == ports
