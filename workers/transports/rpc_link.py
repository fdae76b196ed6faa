"""One gRPC channel, and whether it is ready: the part of an attempt that comes before anything is sent."""

import asyncio
import contextlib
import math
from typing import Any

import grpc
import grpc.aio

from gateway.address_guard import AddressGuard, ForbiddenAddressError
from gateway.errors import CallRejectedError, Delivery, ServiceTimeoutError, ServiceUnavailableError
from gateway.grpc_target import GrpcTarget
from gateway.outcome import Failure
from gateway.policy import Policy
from gateway.service import Service
from workers.transports.rpc_addresses import NoAddressError, RpcAddresses, channel_target
from workers.transports.tls import Certificates, TlsContext

__all__ = ["Link", "connect"]

_READY = grpc.ChannelConnectivity.READY
_CONNECTING = grpc.ChannelConnectivity.CONNECTING
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

    A name is looked up again before each new connection, and a service that moved gets a new channel; the old one
    stays until its RPCs have ended. New certificates get a new channel too.

    Args:
        service: has a `grpc` endpoint.
        user_agent: comes before grpcio's own.
        certificates: of a service that speaks TLS.

    Raises:
        ValueError: the target is none.
    """

    def __init__(self, service: Service, user_agent: str, certificates: Certificates | None) -> None:
        endpoint = service.grpc
        if endpoint is None:
            raise ValueError(f"{service.name} has no grpc endpoint; set services.{service.name}.grpc in the catalogue")
        self.target = endpoint.target
        self._certificates = certificates
        self._made_with: TlsContext | None = None
        target = GrpcTarget.parse(endpoint.target)
        self._addresses = RpcAddresses(target, AddressGuard(service.network))
        name = None if certificates is None else certificates.server_name
        # The library refuses a service that is asked as another name than the one that was verified.
        self._options = _options(service, user_agent, name or target.authority)
        self._options += [("grpc.ssl_target_name_override", name)] if name else []
        self._grace_s = max(policy.timeouts.total for policy in _policies(service))  # no RPC lasts longer
        self._channel: grpc.aio.Channel | None = None
        self._found: tuple[str, ...] = ()
        self._retired: set[asyncio.Task[None]] = set()
        self._ends = asyncio.Event()
        self._unary: dict[str, Any] = {}
        self._look: asyncio.Task[Exception | None] | None = None
        self._change: asyncio.Task[None] | None = None
        self.closed = False

    @property
    def channel(self) -> grpc.aio.Channel:
        """Of a link that was ready."""
        assert self._channel is not None  # noqa: S101 - it is made before the first connection
        return self._channel

    def unary(self, path: str) -> Any:
        """What starts RPCs of a unary method on a link that is ready."""
        found = self._unary.get(path)
        if found is None:
            found = self._unary[path] = self.channel.unary_unary(path)
        return found

    @property
    def ready(self) -> bool:
        """Whether an RPC can be started."""
        return self.state == _READY.name and not self._is_outdated

    @property
    def _is_outdated(self) -> bool:
        """Whether the certificates are other ones than when the channel was made."""
        return self._certificates is not None and self._certificates.current() is not self._made_with

    @property
    def state(self) -> str:
        """Name of the channel's state."""
        if self.closed:
            return "SHUTDOWN"
        return "IDLE" if self._channel is None else self._channel.get_state().name

    async def connect(self) -> grpc.aio.AioRpcError | None:
        """Wait until the channel is ready.

        Returns:
            None when it is; otherwise the error, with the reason in its details. Between two attempts to connect
            (0.1 s at first, 1 s at most) that is at once.

        Raises:
            ForbiddenAddressError: the name has addresses, and the service may be at none of them.
            NoAddressError: it has none.
        """
        await self._renew()
        while True:
            channel = self.channel
            state = channel.get_state(try_to_connect=True)
            if state is _READY:
                return None
            if state in _FAILED:
                reason = await self._reason(channel)
                if reason is not None and channel is self._channel:
                    return reason
            else:
                await self._changed(channel, state)
            if self._channel is None:
                await self._renew()

    async def _renew(self) -> None:
        """Look the name up, unless a connection to what was found is under way."""
        if not self._is_outdated and self._channel is not None and self._channel.get_state() in (_READY, _CONNECTING):
            return
        # One question for all who wait.
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._look_up())
        failed = await asyncio.shield(self._look)
        if failed is not None:
            raise type(failed)(*failed.args)  # each who waited has one of its own

    async def _look_up(self) -> Exception | None:
        try:
            found = await self._addresses.look_up()
        except NoAddressError as error:
            if self._channel is None:
                return error
            # What was found before was checked, and is better than nothing while a name server is away.
            found = self._found
        except ForbiddenAddressError as error:
            self._retire()
            return error
        # Name servers give the same addresses in another order each time.
        if self._channel is None or set(found) != set(self._found) or self._is_outdated:
            self._retire()
            self._found = found
            self._channel = self._open(channel_target(found) if found else self.target)
        return None

    def _open(self, target: str) -> grpc.aio.Channel:
        if self.closed:
            raise grpc.aio.UsageError("Channel is closed.")
        if self._certificates is None:
            return grpc.aio.insecure_channel(target, options=self._options)
        self._made_with = tls = self._certificates.current()
        credentials = grpc.ssl_channel_credentials(tls.authorities(), tls.key, tls.cert)
        return grpc.aio.secure_channel(target, credentials, options=self._options)

    def _retire(self) -> None:
        old, self._channel = self._channel, None
        self._change = None
        self._unary.clear()
        if old is not None:
            drain = asyncio.ensure_future(self._drain(old))
            self._retired.add(drain)
            drain.add_done_callback(self._retired.discard)

    async def _drain(self, old: grpc.aio.Channel) -> None:
        """Let its RPCs end. The library's own grace cannot be cut short."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._grace_s):
                await self._ends.wait()
        await old.close()

    async def _changed(self, channel: grpc.aio.Channel, state: grpc.ChannelConnectivity) -> None:
        # One watch for all who wait: the library cannot take back a watch whose waiter was cancelled.
        if self._change is None or self._change.done():
            self._change = asyncio.ensure_future(channel.wait_for_state_change(state))
        try:
            await asyncio.shield(self._change)
        except (grpc.aio.UsageError, RuntimeError):
            if channel is self._channel:
                raise

    async def lost(self, channel: grpc.aio.Channel) -> bool:
        """Whether our channel, and no earlier one, is not ready after an error that reads like a lost connection.

        The channel's state follows such an error by some milliseconds, in which the next RPC would be started on a
        connection that is gone already.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while channel is self._channel and channel.get_state() is _READY:
                    await self._changed(channel, _READY)
        return channel is self._channel and channel.get_state() is not _READY

    async def _reason(self, channel: grpc.aio.Channel) -> grpc.aio.AioRpcError | None:
        """Why the channel cannot connect; None if it can again, or is not ours any more."""
        try:
            ask: Any = channel.unary_unary(_PROBE)
            await ask(b"", timeout=_PROBE_S)
        except grpc.aio.AioRpcError as error:
            if channel.get_state() is not _READY:
                return error
        except grpc.aio.UsageError:
            if channel is self._channel:
                raise
        return None

    async def close(self) -> None:
        """Close the connection; RPCs in flight are cancelled."""
        self.closed = True
        if self._look is not None:
            self._look.cancel()
        self._ends.set()
        await asyncio.gather(*self._retired)
        if self._channel is not None:
            await self._channel.close()
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
    except ForbiddenAddressError as forbidden:
        return Failure(
            error=CallRejectedError, message=f"no connection: {forbidden}", delivery=Delivery.NOT_SENT, repeatable=False
        )
    except NoAddressError as unknown:
        return Failure(error=ServiceUnavailableError, message=f"no connection: {unknown}", delivery=Delivery.NOT_SENT)
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


def _policies(service: Service) -> list[Policy]:
    return [service.policy, *service.operation_policies.values()]


def _options(service: Service, user_agent: str, authority: str | None) -> list[tuple[str, int | str]]:
    policies = _policies(service)
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
        # The channel gets addresses; the service is asked, and its certificate checked, by the name in the catalogue.
        *([] if authority is None else [("grpc.default_authority", authority)]),
    ]
