"""HTTP server, behind RunPod's load balancer or on a pod."""

from worker.serve.cluster import FollowerMonitor, LeaderMonitor
from worker.serve.connections import ConnectionLimits
from worker.serve.cors import Cors
from worker.serve.health import State
from worker.serve.server import HttpServer, HttpServerConfig

__all__ = [
    "ConnectionLimits",
    "Cors",
    "FollowerMonitor",
    "HttpServer",
    "HttpServerConfig",
    "LeaderMonitor",
    "State",
]
