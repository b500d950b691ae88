"""Converts job input to a request to vLLM, and its response to the shape of the caller."""

from worker.request.codes import ERROR_SPECS, Code, request_error
from worker.request.defaults import RequestDefaults
from worker.request.engine_error import map_engine_error
from worker.request.engine_request import Batching, BestOf, EngineRequest, Upload
from worker.request.error_form import error_body, error_event, error_events
from worker.request.job import UndecodableInput, parse_job
from worker.request.native_output import NativeStream, build_reply, native_reply

__all__ = [
    "ERROR_SPECS",
    "Batching",
    "BestOf",
    "Code",
    "EngineRequest",
    "NativeStream",
    "RequestDefaults",
    "UndecodableInput",
    "Upload",
    "build_reply",
    "error_body",
    "error_event",
    "error_events",
    "map_engine_error",
    "native_reply",
    "parse_job",
    "request_error",
]
