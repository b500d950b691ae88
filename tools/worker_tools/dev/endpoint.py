"""The local RunPod endpoint: one HTTP server on 127.0.0.1 with both sides of the platform."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

from aiohttp import web

from worker.errors import UnavailableError
from worker_tools.dev.batch import BatchStore
from worker_tools.dev.batch_api import BatchApi
from worker_tools.dev.client_api import ClientApi
from worker_tools.dev.faults import Faults
from worker_tools.dev.gateway import Gateway
from worker_tools.dev.job import Job
from worker_tools.dev.limits import Limits
from worker_tools.dev.origin import check_origin
from worker_tools.dev.rate import RateLimiter
from worker_tools.dev.reply import ApiError, reply_json
from worker_tools.dev.store import JobStore
from worker_tools.dev.webhook import Webhooks
from worker_tools.dev.worker_api import WorkerApi

HOST = "127.0.0.1"
ENDPOINT_ID = "local"
BASE = f"/v2/{ENDPOINT_ID}"
HOST_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""Names by which a request may call this machine; others point at DNS rebinding."""
API_KEY = "key-of-the-local-endpoint"
"""What workers send as their key; nothing checks it."""
GPU = "local"
"""What workers report as their GPU type, in every URL of the platform."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LocalEndpoint:
    """RunPod's client and worker API for the endpoint id `local`.

    Attributes:
        store: Jobs, queue and workers.
        faults: Faults in force on the worker side.
        port: Where it listens; 0 before `start`.
        rtt_ms: Artificial round trip of every worker call, milliseconds; may change at any time.
        routes: Further routes, added before `start`.
    """

    def __init__(
        self, *, rtt_ms: float = 0, limits: Limits | None = None, faults: Faults | None = None
    ) -> None:
        """Prepare an endpoint; nothing listens yet.

        Args:
            rtt_ms: Artificial round trip of every worker call, in milliseconds.
            limits: Sizes and times; None takes the platform's.
            faults: Faults on the worker side; None starts without any.
        """
        self.faults = faults if faults is not None else Faults()
        self.port = 0
        self._limits = limits if limits is not None else Limits()
        self._webhooks = Webhooks(self._limits)
        self.store = JobStore(self._limits, on_finish=self._webhooks.notify)
        self.rtt_ms = rtt_ms
        self.routes: list[web.AbstractRouteDef] = []
        self._rates = RateLimiter()
        self._runner: web.AppRunner | None = None

    @property
    def jobs(self) -> dict[str, Job]:
        """All jobs that are not deleted yet, by id."""
        return self.store.jobs

    @property
    def url(self) -> str:
        """Base URL of the client API."""
        return f"http://{HOST}:{self.port}{BASE}"

    @property
    def page_url(self) -> str:
        """Address of the console page."""
        return f"http://{HOST}:{self.port}/"

    @property
    def openai_url(self) -> str:
        """Base URL for an OpenAI client."""
        return f"{self.url}/openai/v1"

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1.

        Args:
            port: TCP port; 0 takes a free one.

        Raises:
            UnavailableError: The port is in use or not allowed.
        """
        app = web.Application(middlewares=[self._guard])
        app.add_routes(ClientApi(self.store).routes(BASE))
        app.add_routes(BatchApi(BatchStore(self.store)).routes(BASE))
        app.add_routes(WorkerApi(self.store, self.faults, lambda: self.rtt_ms).routes(BASE))
        app.add_routes(Gateway(self.store).routes(BASE))
        app.add_routes(self.routes)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            max_line_size=self._limits.request_line_bytes,
            shutdown_timeout=0.1,
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port, backlog=1024)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            self._runner = None
            raise UnavailableError(describe_port_problem(port, error)) from error
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening; open requests are cut off."""
        self.store.drain()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._webhooks.close()
        self.store.close()

    def worker_environment(self, worker_id: str) -> dict[str, str]:
        """Return the variables by which the platform configures a worker."""
        self.store.workers.get(worker_id)
        return {
            "RUNPOD_AI_API_KEY": API_KEY,
            "RUNPOD_ENDPOINT_ID": ENDPOINT_ID,
            "RUNPOD_POD_ID": worker_id,
            "RUNPOD_WEBHOOK_GET_JOB": f"{self.url}/job-take/$ID?gpu={GPU}",
            "RUNPOD_WEBHOOK_PING": f"{self.url}/ping/$RUNPOD_POD_ID?gpu={GPU}",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self.url}/job-done/$RUNPOD_POD_ID/$ID?gpu={GPU}",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{self.url}/job-stream/$RUNPOD_POD_ID/$ID?gpu={GPU}",
        }

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse foreign hosts, foreign pages and too many requests; turn errors into JSON."""
        try:
            if request.host.rsplit(":", 1)[0] not in HOST_NAMES and request.host not in HOST_NAMES:
                raise ApiError(403, f"this endpoint answers to {HOST} and localhost only")
            check_origin(request)
            if not self._limits.rate_limits:
                return await handler(request)
            return await self._serve_limited(request, handler)
        except ApiError as error:
            return reply_json({"error": error.message}, error.status)
        except web.HTTPNotFound:
            return reply_json({"error": f"no such operation: {request.method} {request.path}"}, 404)
        except web.HTTPMethodNotAllowed as error:
            allowed = " or ".join(sorted(error.allowed_methods))
            return reply_json({"error": f"{request.path} takes {allowed}"}, 405)

    async def _serve_limited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        operation = request.path.removeprefix(BASE).strip("/").split("/")[0]
        if not self._rates.enter(operation):
            raise ApiError(429, f"too many requests to /{operation}; wait and try again")
        try:
            return await handler(request)
        finally:
            self._rates.leave(operation)


def describe_port_problem(port: int, error: Exception) -> str:
    """Say why nothing can listen on `port`, and what to do."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"port {port} on {HOST} is in use; stop what uses it, or choose another with --port"
    reason = error.strerror if isinstance(error, OSError) else "ports go from 0 to 65535"
    return f"port {port} on {HOST} cannot be used ({reason}); choose another with --port"
