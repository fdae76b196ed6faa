"""One gRPC channel, and whether it is ready: the part of an attempt that comes before anything is sent."""

import asyncio
import contextlib
import math
from typing import Any

import grpc
import grpc.aio

from gateway.errors import Delivery, ServiceTimeoutError, ServiceUnavailableError
from gateway.outcome import Failure
from gateway.policy import Policy
from gateway.service import Service

__all__ = ["Link", "connect"]

_READY = grpc.ChannelConnectivity.READY
_FAILED = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)
#: A method without effects, asked only for the reason why a channel cannot connect.
_PROBE = "/grpc.health.v1.Health/Check"
_PROBE_S = 1.0
_SETTLE_S = 0.1
#: What grpcio itself allows by default: reflection needs it, however small the replies may be.
_REFLECTION_BYTES = 4 * 1024 * 1024
_KEEPALIVE_MS = 10_000
_KEEPALIVE_TIMEOUT_MS = 5_000


class Link:
    """A channel to a service, made on the running loop, which is after any fork.

    An RPC is started on a ready channel only. So what fails before was not sent, whatever the error says, and the
    library never holds a request back that nobody knows of.

    Args:
        service: has a `grpc` endpoint.
        user_agent: comes before grpcio's own.
    """

    def __init__(self, service: Service, user_agent: str) -> None:
        endpoint = service.grpc
        if endpoint is None:
            raise ValueError(f"{service.name} has no grpc endpoint; set services.{service.name}.grpc in the catalogue")
        self.target = endpoint.target
        options = _options(service, user_agent)
        if endpoint.tls:
            self.channel = grpc.aio.secure_channel(self.target, grpc.ssl_channel_credentials(), options=options)
        else:
            self.channel = grpc.aio.insecure_channel(self.target, options=options)
        self._change: asyncio.Task[None] | None = None
        self.closed = False

    @property
    def ready(self) -> bool:
        """Whether an RPC can be started; starts to connect if not."""
        return not self.closed and self.channel.get_state(try_to_connect=True) is _READY

    @property
    def state(self) -> str:
        """Name of the channel's state."""
        return "SHUTDOWN" if self.closed else self.channel.get_state().name

    async def connect(self) -> grpc.aio.AioRpcError | None:
        """Wait until the channel is ready.

        Returns:
            None when it is; otherwise the error, with the reason in its details. Between two attempts to connect
            (0.1 s at first, 1 s at most) that is at once.
        """
        while True:
            state = self.channel.get_state(try_to_connect=True)
            if state is _READY:
                return None
            if state in _FAILED:
                reason = await self._reason()
                if reason is not None:
                    return reason
                continue
            await self._changed(state)

    async def _changed(self, state: grpc.ChannelConnectivity) -> None:
        # One watch for all who wait: the library cannot take back a watch whose waiter was cancelled.
        if self._change is None or self._change.done():
            self._change = asyncio.ensure_future(self.channel.wait_for_state_change(state))
        await asyncio.shield(self._change)

    async def lost(self) -> bool:
        """Whether the channel is no longer ready, after an error that reads like a lost connection.

        The channel's state follows such an error by some milliseconds, in which the next RPC would be started on a
        connection that is gone already.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while self.ready:
                    await self._changed(_READY)
        return not self.ready

    async def _reason(self) -> grpc.aio.AioRpcError | None:
        """Why the channel cannot connect; None if it can again."""
        try:
            ask: Any = self.channel.unary_unary(_PROBE)
            await ask(b"", timeout=_PROBE_S)
        except grpc.aio.AioRpcError as error:
            if self.channel.get_state() is not _READY:
                return error
        return None

    async def close(self) -> None:
        """Close the connection; RPCs in flight are cancelled."""
        self.closed = True
        await self.channel.close()
        if self._change is not None:
            self._change.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.UsageError, RuntimeError):
                await self._change


async def connect(link: Link, timeout_s: float) -> Failure | None:
    """Wait until a link is ready.

    Returns:
        None when it is, otherwise a failure that was never sent.
    """
    try:
        async with asyncio.timeout(timeout_s):
            error = await link.connect()
    except TimeoutError:
        return Failure(
            error=ServiceTimeoutError,
            message=f"no connection to {link.target} within {timeout_s:g} s",
            delivery=Delivery.NOT_SENT,
            extra={"phase": "connect"},
        )
    if error is None:
        return None
    return Failure(
        error=ServiceUnavailableError,
        message=f"no connection: {' '.join((error.details() or error.code().name).split())}",
        delivery=Delivery.NOT_SENT,
    )


def _options(service: Service, user_agent: str) -> list[tuple[str, int | str]]:
    policies: list[Policy] = [service.policy, *service.operation_policies.values()]
    largest = max(policy.reply.max_bytes for policy in policies)
    if service.grpc is not None and service.grpc.reflection:
        largest = max(largest, _REFLECTION_BYTES)
    connect_s = max(policy.timeouts.connect for policy in policies)
    return [
        # Exactly one layer retries, and it is not this one; transparent retries are off with it.
        ("grpc.enable_retries", 0),
        # Neither a DNS record nor the worker's environment may change how calls are made.
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_http_proxy", 0),
        # Two services at one address share no connection, so closing or limiting one leaves the other alone.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # Despite its name this is how long one attempt to connect may take. Twice our own bound, so that ours is felt.
        ("grpc.min_reconnect_backoff_ms", math.ceil(2000 * connect_s)),
        ("grpc.max_receive_message_length", largest),
        ("grpc.client_idle_timeout_ms", math.ceil(1000 * service.policy.connections.keepalive)),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        # Also the kernel's TCP_USER_TIMEOUT: what is sent and not acknowledged for so long ends the connection.
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        # Without it an unanswered keepalive ping ends nothing for a minute (grpcio 1.85, measured).
        ("grpc.http2.ping_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
        ("grpc.primary_user_agent", user_agent),
    ]
