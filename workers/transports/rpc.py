"""The gRPC transport: one attempt over one channel, without generated code."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import msgspec

from gateway.call import GrpcCall
from gateway.errors import Delivery, ServiceTimeoutError, ServiceUnavailableError
from gateway.grpc_target import GrpcTarget
from gateway.outcome import Failure
from gateway.service import Service
from gateway.tls import Tls
from workers.transports.base import Answer, Attempt, Usage
from workers.transports.conversion import convert
from workers.transports.descriptors import Descriptors, Metadata, Method, load_files
from workers.transports.permits import Permits
from workers.transports.rpc_link import Link, connect
from workers.transports.rpc_messages import invalid, invalid_reply, read_reply, write_metadata, write_request
from workers.transports.rpc_reflection import Reflection
from workers.transports.rpc_statuses import Ended, headers_of, says_lost, to_failure
from workers.transports.tls import Certificates

__all__ = ["GrpcTransport"]

_EOF = grpc.aio.EOF


class GrpcTransport:
    """A service's gRPC channel, and the methods it can be asked for.

    Reply shapes: a unary method's data is its message as JSON, a server stream's the list of its messages. A stream
    of more messages or bytes than the policy allows is cancelled and is an `InvalidReplyError`: half a list would look
    like a whole one. The first byte of a unary reply is seen together with its end, so `timeouts.read` bounds a unary
    call from sending to the end, and a stream from message to message.

    At most `connections.max` RPCs run at once; the others wait for `timeouts.pool`. Beyond the streams that the
    service allows on a connection, the library would hold requests back where nobody sees them.

    Args:
        service: has a `grpc` endpoint.
        root: folder of the catalogue file.
        user_agent: comes before grpcio's own in `user-agent`.

    Raises:
        ValueError: the target is none, or a file of `tls` cannot be used.
        DescriptorError: the service's protos or descriptor set cannot be used.
    """

    def __init__(self, service: Service, root: Path, *, user_agent: str = "call-gateway") -> None:
        endpoint = service.grpc
        if endpoint is None:
            raise ValueError(f"{service.name} has no grpc endpoint; set services.{service.name}.grpc in the catalogue")
        self._service = service
        self._target = GrpcTarget.parse(endpoint.target).text
        self._user_agent = user_agent
        self._certificates = Certificates(service.name, service.tls or Tls()) if endpoint.tls else None
        self._descriptors: Descriptors = (
            Reflection(self._open, service.policy.timeouts) if endpoint.reflection else load_files(endpoint, root)
        )
        self._permits = Permits(service.policy.connections.max)
        self._link: Link | None = None
        self._closed = False

    def _open(self) -> Link:
        """The channel, made on first use."""
        if self._link is None:
            self._link = Link(self._service, self._user_agent, self._certificates)
        return self._link

    async def idempotent(self, call: GrpcCall, headers: Mapping[str, str]) -> bool | None:
        """What the method's own description says about repeating it; None: nothing, or nobody can be asked now.

        Args:
            call: names the method.
            headers: as in `Attempt`; a service that has to be asked sees them.
        """
        metadata = write_metadata(call, headers)
        if isinstance(metadata, Failure):
            return None
        method = await self._descriptors.method(call.method, metadata)
        return None if isinstance(method, Failure) else method.idempotent

    async def send(self, attempt: Attempt) -> Answer | Failure:
        """Make one attempt, see `workers.transports.base.Transport`."""
        began = monotonic()
        call = attempt.call
        if not isinstance(call, GrpcCall):
            raise TypeError(f"the gRPC transport cannot send a {type(call).__name__}")
        if self._closed:
            return _shut(Delivery.NOT_SENT)
        try:
            metadata = write_metadata(call, attempt.headers)
            if isinstance(metadata, Failure):
                return metadata
            method = await self._descriptors.method(call.method, metadata)
            if isinstance(method, Failure):
                return method
            if method.client_streaming:
                return invalid(
                    "method",
                    "it takes a stream of requests, and a call has one",
                    "call a unary or server-streaming method",
                )
            request = await convert(len(msgspec.json.encode(call.request)), write_request, call, method)
            if isinstance(request, Failure):
                return request
            return await self._with_permit(attempt, method, request, metadata, began)
        except asyncio.CancelledError:
            # Closing the channel ends its RPCs with this too; then nobody cancelled this task.
            if self._ended_by_close():
                return _shut(Delivery.MAYBE_SENT if attempt.wire.sent is not None else Delivery.NOT_SENT)
            raise
        except grpc.aio.UsageError:
            # What the library says of a channel that was closed meanwhile.
            if self._ended_by_close():
                return _shut(Delivery.MAYBE_SENT if attempt.wire.sent is not None else Delivery.NOT_SENT)
            raise

    async def _with_permit(
        self, attempt: Attempt, method: Method, request: bytes, metadata: Metadata, began: float
    ) -> Answer | Failure:
        try:
            await self._permits.take(attempt.timeouts.pool)
        except TimeoutError:
            busy = self._service.policy.connections.max
            return _timeout(
                "pool",
                f"all {busy} places (connections.max) were busy for {attempt.timeouts.pool:g} s",
                Delivery.NOT_SENT,
            )
        try:
            attempt.wire.pool_acquired = monotonic()
            return await self._on_link(attempt, method, request, metadata, began)
        finally:
            self._permits.give_back()

    async def _on_link(
        self, attempt: Attempt, method: Method, request: bytes, metadata: Metadata, began: float
    ) -> Answer | Failure:
        link, wire = self._open(), attempt.wire
        if not link.ready:
            wire.connect_started = monotonic()
            refused = await connect(link, attempt.timeouts.connect)
            if refused is not None:
                return refused
            wire.connected = monotonic()
        timeout_s = attempt.budget_s - (monotonic() - began)
        if timeout_s <= 0:
            return _timeout("attempt", f"no time is left of {attempt.budget_s:.3g} s", Delivery.NOT_SENT)
        channel, wire.sent = link.channel, monotonic()
        wire.body_out += len(request)
        try:
            if method.server_streaming:
                return await self._stream(link, attempt, method, request, metadata, timeout_s)
            return await self._unary(link, attempt, method, request, metadata, timeout_s)
        except grpc.aio.AioRpcError as error:
            return to_failure(
                Ended(
                    error=error,
                    elapsed_s=monotonic() - wire.sent,
                    timeout_s=timeout_s,
                    disconnected=says_lost(error) and await link.lost(channel),
                    pool=method.pool,
                )
            )
        except TimeoutError:
            read = attempt.timeouts.read
            return _timeout("read", f"nothing came for {read:g} s", Delivery.MAYBE_SENT)

    async def _unary(
        self, link: Link, attempt: Attempt, method: Method, request: bytes, metadata: Metadata, timeout_s: float
    ) -> Answer | Failure:
        rpc = link.unary(method.path)(request, metadata=metadata, timeout=timeout_s)
        if attempt.timeouts.read is None:
            raw = await rpc
        else:
            async with asyncio.timeout(attempt.timeouts.read):
                raw = await rpc
        attempt.wire.first_byte = monotonic()
        if raw is None:
            return invalid_reply("the status is OK and the reply message is missing")
        attempt.wire.body_in += len(raw)
        if len(raw) > attempt.max_reply_bytes:
            return _too_large(attempt)
        data = await convert(len(raw), read_reply, raw, method)
        if isinstance(data, Failure):
            return data
        headers = headers_of(await rpc.initial_metadata(), await rpc.trailing_metadata())
        return Answer(status="OK", headers=headers, data=data)

    async def _stream(
        self, link: Link, attempt: Attempt, method: Method, request: bytes, metadata: Metadata, timeout_s: float
    ) -> Answer | Failure:
        start: Any = link.channel.unary_stream(method.path)
        rpc = start(request, metadata=metadata, timeout=timeout_s)
        try:
            async with asyncio.timeout(attempt.timeouts.read):
                initial = await rpc.initial_metadata()
            attempt.wire.first_byte = monotonic()
            messages: list[Any] = []
            size = 0
            while True:
                async with asyncio.timeout(attempt.timeouts.read):
                    raw = await rpc.read()
                if raw is _EOF:
                    return Answer(
                        status="OK", headers=headers_of(initial, await rpc.trailing_metadata()), data=messages
                    )
                size += len(raw)
                attempt.wire.body_in += len(raw)
                if size > attempt.max_reply_bytes:
                    return _too_large(attempt)
                if len(messages) >= attempt.max_messages:
                    return invalid_reply(
                        f"the stream has more than {attempt.max_messages} messages (reply.max_messages)"
                    )
                data = await convert(len(raw), read_reply, raw, method)
                if isinstance(data, Failure):
                    return data
                messages.append(data)
        finally:
            rpc.cancel()

    async def close(self) -> None:
        """Close the channel; calls in flight fail."""
        self._closed = True
        await self._descriptors.close()
        if self._link is not None:
            await self._link.close()

    def _ended_by_close(self) -> bool:
        task = asyncio.current_task()
        return self._closed and (task is None or task.cancelling() == 0)

    @property
    def usage(self) -> Usage:
        """See `Transport.usage`. A channel has one connection for all of its RPCs."""
        is_open = self._link is not None and self._link.ready
        return Usage(connections=int(is_open), busy=self._permits.busy, waiting=self._permits.waiting)

    def __repr__(self) -> str:
        state = "SHUTDOWN" if self._closed else "unused" if self._link is None else self._link.state
        waiting = f" {self._permits.waiting} waiting" if self._permits.waiting else ""
        return f"<GrpcChannel {self._service.name} {self._target} {state} {self._permits.busy} busy{waiting}>"


def _timeout(phase: str, message: str, delivery: Delivery) -> Failure:
    return Failure(error=ServiceTimeoutError, message=message, delivery=delivery, extra={"phase": phase})


def _too_large(attempt: Attempt) -> Failure:
    return invalid_reply(f"the reply is larger than {attempt.max_reply_bytes} bytes (reply.max_bytes)")


def _shut(delivery: Delivery) -> Failure:
    return Failure(error=ServiceUnavailableError, message="the gateway closed its channel", delivery=delivery)
