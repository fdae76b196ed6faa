"""A service's methods, asked from the service itself (gRPC server reflection, v1 and v1alpha)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2 as pb

from gateway.errors import Delivery, InvalidReplyError, ServiceTimeoutError, ServiceUnavailableError
from gateway.outcome import Failure
from gateway.policy import Timeouts
from workers.transports.descriptors import DescriptorError, Library, Metadata, Method, no_service
from workers.transports.rpc_link import Link, connect
from workers.transports.rpc_statuses import ERRORS

__all__ = ["Reflection"]

#: The messages of both are the same on the wire.
_VERSIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
#: Bounds of what a service may describe.
_MAX_FILES = 2000
_MAX_BYTES = 16 * 1024 * 1024


class Reflection:
    """Methods from the service itself, remembered as long as the worker runs.

    Calls that need the same service at once share one question. A failure is not remembered: the next call asks again,
    and so does one for a method that a newer version of the service may have.

    Args:
        link: gives the channel.
        timeouts: `connect` and `attempt` bound a question.
    """

    def __init__(self, link: Callable[[], Link], timeouts: Timeouts) -> None:
        self._link = link
        self._timeouts = timeouts
        self._libraries: dict[str, Library] = {}
        self._flights: dict[str, asyncio.Task[Library | Failure]] = {}

    async def method(self, full_name: str, metadata: Metadata) -> Method | Failure:
        """The method of that name.

        Args:
            full_name: `"package.Service/Method"`.
            metadata: goes with the question, so that the service sees who asks.
        """
        service = full_name.partition("/")[0]
        library = self._libraries.get(service)
        if library is not None:
            method = library.method(full_name)
            if not isinstance(method, Failure):
                return method
        flight = self._flights.get(service)
        if flight is None:
            flight = self._flights[service] = asyncio.ensure_future(self._fly(service, metadata))
            flight.add_done_callback(lambda _: self._flights.pop(service, None))
        # Shielded: who stops waiting takes the answer from nobody else.
        found = await asyncio.shield(flight)
        return found if isinstance(found, Failure) else found.method(full_name)

    async def close(self) -> None:
        """Give up the questions under way."""
        for flight in list(self._flights.values()):
            flight.cancel()
            with suppress(asyncio.CancelledError):
                await flight

    async def _fly(self, service: str, metadata: Metadata) -> Library | Failure:
        link = self._link()
        if not link.ready:
            refused = await connect(link, self._timeouts.connect)
            if refused is not None:
                return refused
        kept = tuple((name, value) for name, value in metadata if name != "idempotency-key")
        try:
            async with asyncio.timeout(self._timeouts.attempt):
                found = await _ask(link.channel, service, kept)
        except grpc.aio.AioRpcError as error:
            return _failed(error)
        except TimeoutError:
            return _not_described(
                ServiceTimeoutError, f"no answer within {self._timeouts.attempt:g} s", extra={"phase": "attempt"}
            )
        except (DescriptorError, DecodeError) as error:
            return _not_described(InvalidReplyError, str(error))
        if isinstance(found, Library):
            self._libraries[service] = found
        return found

    def __repr__(self) -> str:
        return f"<Reflection {', '.join(sorted(self._libraries)) or 'of no service yet'}>"


async def _ask(channel: grpc.aio.Channel, service: str, metadata: Metadata) -> Library | Failure:
    for version in _VERSIONS:
        try:
            return await _ask_version(channel, version, service, metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED or version == _VERSIONS[-1]:
                raise
    raise AssertionError("the last version returned or raised")


async def _ask_version(channel: grpc.aio.Channel, version: str, service: str, metadata: Metadata) -> Library | Failure:
    """Everything about a service on one stream: another stream may end at another instance, of another version."""
    rpc: Any = channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=pb.ServerReflectionRequest.SerializeToString,
        response_deserializer=pb.ServerReflectionResponse.FromString,
    )(metadata=metadata)
    try:
        files = await _files(rpc, pb.ServerReflectionRequest(file_containing_symbol=service))
        if files is None:
            listed = await _question(rpc, pb.ServerReflectionRequest(list_services=""))
            return no_service(service, [known.name for known in listed.list_services_response.service])
        known = {file.name: file for file in files}
        size = sum(file.ByteSize() for file in files)
        missing = _missing(known)
        while missing:
            more = await _files(rpc, pb.ServerReflectionRequest(file_by_filename=missing[0]))
            if more is None:
                known[missing[0]] = FileDescriptorProto()  # not theirs: the library has it, or names who imports it
            for file in more or ():
                known.setdefault(file.name, file)
                size += file.ByteSize()
            if len(known) > _MAX_FILES or size > _MAX_BYTES:
                raise DescriptorError(f"it describes more than {_MAX_FILES} files or {_MAX_BYTES} bytes")
            asked = missing[0]
            if asked not in known:
                raise DescriptorError(f"asked for {asked}, it sent something else")
            missing = _missing(known)
        return Library(file for file in known.values() if file.name)
    finally:
        rpc.cancel()


async def _question(rpc: Any, request: Any) -> Any:
    await rpc.write(request)
    answer = await rpc.read()
    if answer is grpc.aio.EOF:
        raise DescriptorError("the reflection stream ended before the answer")
    return answer


async def _files(rpc: Any, request: Any) -> list[FileDescriptorProto] | None:
    """The files of one answer; None where the service has none."""
    answer = await _question(rpc, request)
    if answer.WhichOneof("message_response") != "file_descriptor_response":
        return None
    return [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]


def _missing(known: dict[str, FileDescriptorProto]) -> list[str]:
    return sorted({name for file in known.values() for name in file.dependency} - known.keys())


def _failed(error: grpc.aio.AioRpcError) -> Failure:
    code = error.code()
    text = " ".join((error.details() or "").split())
    if code is grpc.StatusCode.UNIMPLEMENTED:
        text = "the service has no server reflection; set grpc.protos or grpc.descriptor_set in the catalogue"
    return _not_described(ERRORS.get(code, ServiceUnavailableError), f"{code.name}: {text}", status=code.name)


def _not_described(kind: Any, why: str, **fields: Any) -> Failure:
    """The call itself was not sent, whatever became of the question."""
    return Failure(error=kind, message=f"server reflection: {why}", delivery=Delivery.NOT_SENT, **fields)
