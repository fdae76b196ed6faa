"""The gRPC interceptors in real servers: grpc.aio and the one with threads."""

# The classes of grpc are generic only in its stubs.
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from gateway.server import ServiceAuthInterceptor, SyncServiceAuthInterceptor
from gateway.server.grpc import HEALTH, REFLECTION

KEYS = ("old-key", "new-key")
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
METHODS = ("UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream")
REFUSED: list[Metadata] = [
    (),
    (("x-service-auth", "third-key"),),
    (("x-service-auth", ""),),
    (("x-service-auth", "old-ke"),),
    (("x-service-auth", "old-key1"),),
    (("x-service-auth", "old-key,new-key"),),
    (("x-service-auth", "old-key"), ("x-service-auth", "old-key")),
    (("x-service-auth", "wrong"), ("x-service-auth", "old-key")),
    (("x-service-auth-bin", b"old-key"),),
]


async def _one(request: Any, context: Any) -> bytes:
    return b"served"


async def _many(request: Any, context: Any) -> AsyncIterator[bytes]:
    yield b"served"


def _one_sync(request: Any, context: Any) -> bytes:
    return b"served"


def _many_sync(request: Any, context: Any) -> Iterator[bytes]:
    yield b"served"


def _handlers(one: Callable[..., Any], many: Callable[..., Any]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        "test.Kinds",
        {
            "UnaryUnary": grpc.unary_unary_rpc_method_handler(one),
            "UnaryStream": grpc.unary_stream_rpc_method_handler(many),
            "StreamUnary": grpc.stream_unary_rpc_method_handler(one),
            "StreamStream": grpc.stream_stream_rpc_method_handler(many),
        },
    )


@asynccontextmanager
async def aio_server(**more: Any) -> AsyncIterator[Any]:
    server = grpc.aio.server(interceptors=[ServiceAuthInterceptor(more.pop("keys", KEYS), **more)])
    server.add_generic_rpc_handlers((_handlers(_one, _many),))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    reflection.enable_server_reflection((reflection.SERVICE_NAME,), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(1)


@contextmanager
def thread_server(**more: Any) -> Iterator[Any]:
    with ThreadPoolExecutor(4) as threads:
        server = grpc.server(threads, interceptors=[SyncServiceAuthInterceptor(KEYS, **more)])
        server.add_generic_rpc_handlers((_handlers(_one_sync, _many_sync),))
        health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            server.stop(1).wait(5)


async def ask(channel: Any, method: str, metadata: Metadata) -> list[bytes]:
    """Call a method of one of the four kinds; the last word of its name says which."""
    path = f"/test.Kinds/{method}"
    if method == "UnaryUnary":
        return [await channel.unary_unary(path)(b"", metadata=metadata, timeout=10)]
    if method == "UnaryStream":
        return [message async for message in channel.unary_stream(path)(b"", metadata=metadata, timeout=10)]
    if method == "StreamUnary":
        return [await channel.stream_unary(path)(iter([b""]), metadata=metadata, timeout=10)]
    return [message async for message in channel.stream_stream(path)(iter([b""]), metadata=metadata, timeout=10)]


async def knock(channel: Any, method: str, metadata: Metadata) -> None:
    """Begin a call and send no message: one that crosses the refusal on its way is an error of grpcio's own."""
    path = f"/test.Kinds/{method}"
    if method == "StreamUnary":
        await channel.stream_unary(path)(metadata=metadata, timeout=10)
    elif method in ("StreamStream", "NoSuchMethod"):
        await channel.stream_stream(path)(metadata=metadata, timeout=10).read()
    else:
        await ask(channel, method, metadata)


def ask_sync(channel: Any, method: str, metadata: Metadata) -> list[bytes]:
    path = f"/test.Kinds/{method}"
    if method == "UnaryUnary":
        return [channel.unary_unary(path)(b"", metadata=metadata, timeout=10)]
    if method == "UnaryStream":
        return list(channel.unary_stream(path)(b"", metadata=metadata, timeout=10))
    if method == "StreamUnary":
        return [channel.stream_unary(path)(iter([b""]), metadata=metadata, timeout=10)]
    return list(channel.stream_stream(path)(iter([b""]), metadata=metadata, timeout=10))


@pytest.mark.parametrize("method", METHODS)
async def test_each_key_of_a_rotation_is_served(method: str) -> None:
    async with aio_server() as channel:
        for key in KEYS:
            assert await ask(channel, method, (("x-service-auth", key),)) == [b"served"]


@pytest.mark.parametrize("method", [*METHODS, "NoSuchMethod"])
async def test_everything_else_is_unauthenticated_in_all_four_kinds(method: str) -> None:
    async with aio_server() as channel:
        for metadata in REFUSED:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await knock(channel, method, metadata)
            assert (caught.value.code(), caught.value.details()) == (
                grpc.StatusCode.UNAUTHENTICATED,
                "Invalid authentication",
            )


async def test_a_refused_stream_does_not_wait_for_a_message() -> None:
    async def never() -> AsyncIterator[bytes]:
        await blocked.wait()
        yield b""

    blocked = asyncio.Event()
    async with aio_server() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.stream_unary("/test.Kinds/StreamUnary")(never(), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_method_that_does_not_exist_is_unimplemented_for_those_with_a_key() -> None:
    async with aio_server() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, "NoSuchMethod", (("x-service-auth", "new-key"),))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_key_of_any_bytes_can_travel_in_binary_metadata() -> None:
    async with aio_server(keys=[b"\xff\xfekey"], header="x-service-auth-bin") as channel:
        assert await ask(channel, "UnaryUnary", (("x-service-auth-bin", b"\xff\xfekey"),)) == [b"served"]
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(channel, "UnaryUnary", (("x-service-auth-bin", b"\xff\xfdkey"),))


async def _reflects(channel: Any) -> list[str]:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    replies = [reply async for reply in stub.ServerReflectionInfo(iter([request]), timeout=10)]
    return [service.name for reply in replies for service in reply.list_services_response.service]


async def test_health_is_exempt_and_reflection_is_not_unless_it_is_asked_for() -> None:
    check = health_pb2.HealthCheckRequest()
    async with aio_server() as channel:
        await health_pb2_grpc.HealthStub(channel).Check(check, timeout=10)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _reflects(channel)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    async with aio_server(exempt=HEALTH + REFLECTION) as channel:
        assert await _reflects(channel) == [reflection.SERVICE_NAME]
    async with aio_server(exempt=()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health_pb2_grpc.HealthStub(channel).Check(check, timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_single_method_can_be_exempt() -> None:
    async with aio_server(exempt=("test.Kinds/UnaryUnary",)) as channel:
        assert await ask(channel, "UnaryUnary", ()) == [b"served"]
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(channel, "UnaryStream", ())


@pytest.mark.parametrize("method", METHODS)
def test_the_server_with_threads_does_the_same(method: str) -> None:
    with thread_server() as channel:
        for key in KEYS:
            assert ask_sync(channel, method, (("x-service-auth", key),)) == [b"served"]
        for metadata in REFUSED:
            with pytest.raises(grpc.RpcError) as caught:
                ask_sync(channel, method, metadata)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            assert caught.value.details() == "Invalid authentication"


def test_the_server_with_threads_leaves_health_open() -> None:
    with thread_server() as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_they_are_not_built_without_keys_or_with_one_string_of_services() -> None:
    for interceptor in (ServiceAuthInterceptor, SyncServiceAuthInterceptor):
        with pytest.raises(ValueError, match="there is no service key"):
            interceptor([])
        with pytest.raises(TypeError, match="exempt is one string"):
            interceptor(["key"], exempt="grpc.health.v1.Health")


def test_their_repr_shows_no_key() -> None:
    assert repr(ServiceAuthInterceptor(KEYS)) == "<ServiceAuthInterceptor x-service-auth <ServiceKeys 2 keys>>"
    assert repr(SyncServiceAuthInterceptor(KEYS)) == "<SyncServiceAuthInterceptor x-service-auth <ServiceKeys 2 keys>>"
