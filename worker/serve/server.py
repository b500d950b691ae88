"""The HTTP server: starts before the engine, and drains before the worker exits."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from worker.engine.client import EngineClient
from worker.errors import RequestError, UnavailableError
from worker.handler import Handler, HandlerOptions, describe_failure, timeout_error
from worker.request import Code, request_error
from worker.request.engine_request import MAX_BODY_BYTES
from worker.request.routes import find_path
from worker.serve.body import receive_body
from worker.serve.cluster import NODE, FollowerMonitor
from worker.serve.connections import AccessLogger, ConnectionLimits, Connections
from worker.serve.cors import Cors
from worker.serve.exchange import (
    Exchange,
    check_key,
    error_response,
    fail_stream,
    handle_expect,
)
from worker.serve.health import State, health_response
from worker.serve.proxy import Proxy
from worker.serve.runsync import PATH as NATIVE_PATH
from worker.serve.runsync import handle_runsync, refuse_queue_operation
from worker.serve.websocket import (
    fail_websocket,
    is_websocket,
    proxy_websocket,
    refuse_plain_request,
)
from worker.stream.flush_policy import StreamLoad
from worker.usage import UsageMeter

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 300.0
"""Longer than proxies keep an idle connection, because the proxy should close it first."""

ABORT_S = 5.0
"""Time to report to the clients that their requests were aborted."""

ALL_INTERFACES = "0.0.0.0"  # noqa: S104  the platform reaches the container by its address


@dataclass(frozen=True, slots=True)
class HttpServerConfig:
    """Configuration of the HTTP server.

    Attributes:
        port: For requests.
        health_port: For health checks; may be the same.
        health_path: Path of the health check, on both.
        api_key: Key that requests need; None accepts requests without a key.
        max_concurrency: Maximum number of concurrent requests; others are refused as overload.
        host: Address to listen on.
        cors: Which pages of other origins may use the server; None allows no page.
        limits: Limits for connections and slow clients.
    """

    port: int
    health_port: int
    health_path: str
    api_key: str | None
    max_concurrency: int
    host: str = ALL_INTERFACES
    cors: Cors | None = None
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)


class HttpServer:
    """Answers health checks after `prepare`, and requests after `start`.

    Args:
        config: Configuration of the server.
        followers: The other nodes of a cluster, whose health checks are recorded.
    """

    def __init__(self, config: HttpServerConfig, followers: FollowerMonitor | None = None) -> None:
        self._config = config
        self._followers = followers
        self._state = State.STARTING
        self._timers: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._handler: Handler | None = None
        self._proxy: Proxy | None = None
        self._meter: UsageMeter | None = None
        self._client: EngineClient | None = None
        self._timeout_s = 0.0
        self._runners: list[web.AppRunner] = []
        self._ports: list[Connections] = []

    async def prepare(self) -> None:
        """Listen. Until `start`, all requests except health checks are refused.

        Raises:
            UnavailableError: A port is in use or not allowed.
        """
        config = self._config
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        self._add_health(app)
        app.router.add_route("*", "/{path:(?s:.*)}", self._answer, expect_handler=handle_expect)
        await self._listen(app, config.port)
        if config.health_port != config.port:
            health = web.Application()
            self._add_health(health)
            await self._listen(health, config.health_port)
        log.info("listening on port %d, health at %s", config.port, config.health_path)

    def start(self, client: EngineClient, stream_load: StreamLoad, options: HandlerOptions) -> None:
        """Answer requests from now on.

        Args:
            client: The connections to vLLM.
            stream_load: The load that native streams share.
            options: Settings of the handler.
        """
        self._client = client
        self._handler = Handler(client, stream_load, options)
        self._proxy = Proxy(client, options)
        self._meter = options.meter
        self._timeout_s = options.request_timeout_s
        self._state = State.READY

    def stop_accepting(self, state: State) -> None:
        """Accept no more requests; running requests continue."""
        self._state = state

    async def drain(self, timeout_s: float) -> None:
        """Let running requests end within `timeout_s` seconds, then end them with an error."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("ending %d requests after %g s", len(self._timers), timeout_s)
            for timer in list(self._timers):
                if not timer.expired():
                    timer.reschedule(0)
            try:
                async with asyncio.timeout(ABORT_S):
                    await self._idle.wait()
            except TimeoutError:
                log.error("%d clients did not read the end of their responses", len(self._timers))

    async def close(self) -> None:
        """Close all ports and connections."""
        for connections in self._ports:
            await connections.close()
        for runner in self._runners:
            await runner.cleanup()

    def _add_health(self, app: web.Application) -> None:
        for path in {self._config.health_path, "/ping", "/health"}:
            app.router.add_get(path, self._health, expect_handler=handle_expect)

    async def _listen(self, app: web.Application, port: int) -> None:
        if self._config.cors is not None:
            self._config.cors.install(app)
        connections = Connections(self._config.limits)
        connections.install(app)
        runner = web.AppRunner(
            app,
            access_log_class=AccessLogger,
            access_log=log,
            # aiohttp turns a body that cannot be decompressed into a status 500.
            auto_decompress=False,
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_S,
            shutdown_timeout=ABORT_S,
        )
        await runner.setup()
        self._runners.append(runner)
        self._ports.append(connections)
        try:
            await connections.listen(runner, self._config.host, port)
        except OSError as error:
            raise UnavailableError(
                f"port {port} cannot be used: {error.strerror}. Set HTTP_PORT and PORT_HEALTH to "
                "free ports; below 1024 only root may listen"
            ) from None

    async def _health(self, request: web.Request) -> web.Response:
        if self._followers is not None:
            self._followers.record_poll(request.query.get(NODE))
        return health_response(self._state)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request except a health check; errors have the format of the API."""
        path = request.rel_url.raw_path  # Encoded, so a line end in it adds no line to the log.
        exchange = Exchange(request)
        try:
            self._check(request)
            if not is_websocket(request):
                # A slow body does not count as a running request.
                timeout_s = self._config.limits.body_timeout_s
                exchange.body = await receive_body(request, timeout_s, MAX_BODY_BYTES)
                self._check(request)
            return await self._run_with_timeout(exchange)
        except Exception as error:
            is_closed = request.transport is None or request.transport.is_closing()
            if isinstance(error, aiohttp.ClientError | ConnectionError) and is_closed:
                raise
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
                failure = self._timeout_error()
            else:
                failure = describe_failure(error, path)
        started = exchange.response
        if started is None:
            return self._error_response(failure, request.path)
        if isinstance(started, web.WebSocketResponse):
            await fail_websocket(started, failure)
        else:
            await fail_stream(started, failure, exchange.path)
        return started

    async def _run_with_timeout(self, exchange: Exchange) -> web.StreamResponse:
        """Answer a request within the time limit; `drain` can end it earlier."""
        async with asyncio.timeout(self._timeout_s) as timer:
            self._timers.add(timer)
            self._idle.clear()
            try:
                return await self._dispatch(exchange)
            finally:
                self._timers.discard(timer)
                if not self._timers:
                    self._idle.set()

    async def _dispatch(self, exchange: Exchange) -> web.StreamResponse:
        request = exchange.request
        if self._handler is None or self._proxy is None or self._client is None:
            raise _still_loading()
        if is_websocket(request):
            return await proxy_websocket(exchange, self._client)
        refuse_plain_request(request.path)
        path = find_path(request.path)
        refuse_queue_operation(path)
        if path == NATIVE_PATH:
            return await handle_runsync(exchange, self._handler, self._meter)
        return await self._proxy.answer(exchange)

    def _check(self, request: web.Request) -> None:
        """Refuse a request without the key, or in a state without service.

        Raises:
            RequestError: The reason.
        """
        check_key(request, self._config.api_key)
        if self._state is State.STARTING:
            raise _still_loading()
        if self._state is State.STOPPING:
            raise request_error(
                Code.WORKER_STOPPING, "The worker is stopping; send the request again."
            )
        if self._state is State.FAILED:
            raise request_error(Code.ENGINE_DIED, "The engine has exited; send the request again.")
        if len(self._timers) >= self._config.max_concurrency:
            raise request_error(
                Code.ENGINE_OVERLOADED,
                f"The worker already answers {self._config.max_concurrency} requests.",
            )

    def _timeout_error(self) -> RequestError:
        """Return the error for a request that was ended by its timer."""
        if self._state is State.STOPPING:
            message = "The worker stopped before the answer was complete; retry the request."
            return request_error(Code.WORKER_STOPPING, message)
        return timeout_error(self._timeout_s)

    def _error_response(self, failure: RequestError, path: str) -> web.Response:
        response = error_response(failure, path)
        if self._state in (State.STOPPING, State.FAILED) or failure.status in (408, 413, 415):
            response.force_close()
        return response


def _still_loading() -> RequestError:
    return request_error(Code.ENGINE_UNAVAILABLE, "The model is still loading; retry later.")
