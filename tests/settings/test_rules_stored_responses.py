"""Warnings about responses that vLLM keeps in the memory of one API server."""

import pytest

from worker.machine import GIB, MachineInfo
from worker.settings import load_settings

STORE = {"VLLM_ENABLE_RESPONSES_API_STORE": "1"}
QUEUE = {"RUNPOD_WEBHOOK_GET_JOB": "http://localhost/job", "RUNPOD_ENDPOINT_ID": "e1"}
BALANCER = {"RUNPOD_ENDPOINT_ID": "e1"}


def warnings_of(*environs):
    environ = {name: value for part in environs for name, value in part.items()}
    settings = load_settings(environ, machine=MachineInfo(1, 64 * GIB, cores=32))
    return [item for item in settings.warnings if item.where in STORE]


@pytest.mark.parametrize(
    "environs",
    [(STORE,), (QUEUE,), (BALANCER,), ({"API_SERVER_COUNT": "4"},)],
    ids=["one-pod", "queue-without-store", "balancer-without-store", "servers-without-store"],
)
def test_warn_stored_responses_nothing_out_of_reach_is_silent(environs):
    assert warnings_of(*environs) == []


def test_warn_stored_responses_with_several_api_servers_warns():
    [warning] = warnings_of(STORE, {"API_SERVER_COUNT": "4"})

    assert warning.message.startswith("each of 4 API servers keeps its own")
    assert warning.expected == "API_SERVER_COUNT=1"


def test_warn_stored_responses_on_a_queue_endpoint_warns():
    [warning] = warnings_of(STORE, QUEUE)

    assert "any worker may get a follow-up" in warning.message


def test_warn_stored_responses_behind_a_load_balancer_names_the_header():
    [warning] = warnings_of(STORE, BALANCER)

    assert "X-Runpod-Worker-Id" in warning.expected
    assert warning.anchor == "clients.md#stored-responses"
