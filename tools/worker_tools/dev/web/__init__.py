"""The console page of the local endpoint: a JSON API under /console/api, and static files."""

from worker_tools.dev.web.console import Console

__all__ = ["Console"]
