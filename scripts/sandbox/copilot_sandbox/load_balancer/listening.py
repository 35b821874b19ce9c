"""Listens on the ports of the load balancers, and serves the clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import h11

from copilot_sandbox.load_balancer.connection import Peer
from copilot_sandbox.load_balancer.exchange import Backend, Exchange
from copilot_sandbox.peers import is_own_user

if TYPE_CHECKING:
    from copilot_sandbox.model import ControlPlane, LoadBalancer

logger = logging.getLogger(__name__)

LOOK_INTERVAL = 0.2  # seconds between checks for new and deleted load balancers
RETRY_INTERVAL = 1.0  # seconds between attempts to get a port that another program uses
_START_SECONDS, _STOP_SECONDS = 10.0, 5.0


class Listeners:
    """A listener for each load balancer, in a thread with its own event loop.

    `idle_timeout` is in seconds and applies to both sides, as on AWS: a silent client is disconnected; if a
    target is silent, its client gets a 504.
    """

    def __init__(self, control_plane: ControlPlane, backend: Backend, *, idle_timeout: float = 60) -> None:
        self._control_plane = control_plane
        self._backend = backend
        self._idle_timeout = idle_timeout
        self._balancers: dict[int, LoadBalancer] = {}
        self._servers: dict[int, list[asyncio.Server]] = {}
        self._retry_at: dict[int, float] = {}
        self._connections: dict[asyncio.Task[None], int] = {}
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="load balancer connect")
        self._ready = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="load balancers", daemon=True
        )

    def start(self) -> None:
        """Start the thread. Return once the existing load balancers have listeners."""
        self._thread.start()
        self._ready.wait(_START_SECONDS)

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Close all listeners and connections."""
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):  # the thread has ended, so its loop is closed
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        while not self._stopping.is_set():
            try:
                await self._update_listeners()
            except Exception:
                logger.exception("the list of load balancers could not be read")
            self._ready.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), LOOK_INTERVAL)
        for port in list(self._servers):
            await self._close(port)

    async def _update_listeners(self) -> None:
        """Open listeners of new load balancers, and close those of deleted ones."""
        balancers = await asyncio.get_running_loop().run_in_executor(
            self._pool, self._control_plane.load_balancers
        )
        self._balancers = {balancer.port: balancer for balancer in balancers}
        for port in [port for port in self._servers if port not in self._balancers]:
            await self._close(port)
        for port, balancer in self._balancers.items():
            if port not in self._servers and time.monotonic() >= self._retry_at.get(port, 0):
                await self._open(port, balancer)

    async def _open(self, port: int, balancer: LoadBalancer) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(port, reader, writer)

        try:
            server = await asyncio.start_server(accept, "127.0.0.1", port)
        except OSError as error:
            if port not in self._retry_at:
                logger.warning(
                    "port %d for the load balancer of %s is not free (%s): end the program that uses it; "
                    "the sandbox tries again each second",
                    port,
                    balancer.environment,
                    os.strerror(error.errno or 0),
                )
            self._retry_at[port] = time.monotonic() + RETRY_INTERVAL
            return
        self._retry_at.pop(port, None)
        self._servers[port] = [server]
        # `localhost` may mean ::1 first. Without IPv6, this fails and is not needed.
        with contextlib.suppress(OSError):
            self._servers[port].append(await asyncio.start_server(accept, "::1", port))

    async def _close(self, port: int) -> None:
        for server in self._servers.pop(port):
            server.close()
        connections = [task for task, at in self._connections.items() if at == port]
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client's connection, request after request."""
        task = asyncio.current_task()
        if task is not None:
            self._connections[task] = port
        try:
            own = await asyncio.get_running_loop().run_in_executor(
                self._pool, is_own_user, writer.get_extra_info("socket")
            )
            client = Peer(h11.SERVER, reader, writer, self._idle_timeout)
            while await Exchange(self._backend, self._pool, client).run(self._balancers.get(port), own=own):
                pass
        except (ConnectionError, TimeoutError):
            pass  # the client has closed the connection or is idle, so there is no one to answer
        except asyncio.CancelledError:
            pass  # the listener was closed
        except Exception:
            logger.exception("a load balancer failed to serve a request on port %d", port)
        finally:
            if task is not None:
                self._connections.pop(task, None)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
