"""RunPod's job queue: the SDK's protocol with an event-driven loop.

Importing this package imports the SDK, which takes about two seconds.
"""

from worker.queue import sdk
from worker.queue.loop import EventDrivenScaler

__all__ = ["EventDrivenScaler", "sdk"]
