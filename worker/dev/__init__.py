"""A RunPod endpoint on this machine, with the real worker under it; never used in production."""

from worker.dev.deployment import LocalDeployment
from worker.dev.endpoint import LocalEndpoint
from worker.dev.faults import Fault, Faults
from worker.dev.limits import Limits

__all__ = ["Fault", "Faults", "Limits", "LocalDeployment", "LocalEndpoint"]
