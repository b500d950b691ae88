"""HTTP to the clients themselves: behind RunPod's load balancer, or on a pod."""

from worker.serve.front import FrontOptions, HttpFront
from worker.serve.health import State

__all__ = ["FrontOptions", "HttpFront", "State"]
