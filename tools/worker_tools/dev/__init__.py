"""`worker dev`: a RunPod endpoint on this machine that runs the real worker."""

from worker_tools.dev.deployment import LocalDeployment
from worker_tools.dev.endpoint import LocalEndpoint
from worker_tools.dev.faults import Fault, Faults
from worker_tools.dev.limits import Limits

__all__ = ["Fault", "Faults", "Limits", "LocalDeployment", "LocalEndpoint"]
