"""The pinned SDK has every private and public part that `worker.queue` uses or replaces.

A version that fails here needs a change of `worker/queue/sdk.py` or `worker/queue/loop.py`.
"""

import importlib
import inspect

import pytest

PARAMETERS = {
    "rp_scale.JobScaler": ("config",),
    "rp_scale.JobScaler.run": ("self",),
    "rp_scale.JobScaler.get_jobs": ("self", "session"),
    "rp_scale.JobScaler.monitor_stop_signals": ("self", "session"),
    "rp_scale.JobScaler.stop_job": ("self", "job_id"),
    "rp_scale.JobScaler.kill_worker": ("self",),
    "rp_scale.JobScaler.is_alive": ("self",),
    "rp_job.get_job": ("session", "num_jobs"),
    "rp_job.handle_job": ("session", "config", "job"),
    "rp_http.send_result": ("session", "job_data", "job", "is_stream"),
    "rp_http.stream_result": ("session", "job_data", "job"),
    "rp_http._transmit": ("client_session", "url", "job_data"),
    "rp_ping.Heartbeat.start_ping": ("self", "mirror", "test"),
    "rp_ping.Heartbeat._send_ping": ("self",),
    "rp_fitness._report_unhealthy": ("check", "reason"),
    "rp_fitness.run_fitness_checks": (),
    "worker_state.JobsProgress._notify_mirror": ("self",),
}

VALUES = {
    "rp_http.JOB_DONE_URL": str,
    "rp_http.JOB_STREAM_URL": str,
    "rp_fitness._registration_state": dict,
}

SCALER_ATTRIBUTES = (
    "_shutdown_event",
    "current_concurrency",
    "job_progress",
    "jobs_fetcher",
    "jobs_fetcher_timeout",
    "jobs_tasks",
)


def find(name):
    module, *path = name.split(".")
    found = importlib.import_module(f"runpod.serverless.modules.{module}")
    for part in path:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("name", PARAMETERS)
def test_sdk_function_has_the_expected_parameters(name):
    assert tuple(inspect.signature(find(name)).parameters) == PARAMETERS[name]


@pytest.mark.parametrize("name", VALUES)
def test_sdk_value_has_the_expected_type(name):
    assert isinstance(find(name), VALUES[name])


@pytest.mark.parametrize("name", SCALER_ATTRIBUTES)
def test_sdk_job_scaler_has_the_attribute(name):
    assert hasattr(find("rp_scale.JobScaler")({}), name)
