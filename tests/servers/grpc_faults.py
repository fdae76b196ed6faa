"""A real gRPC server with a fault for each user id; for what no real one does see `grpc_raw.py`.

Run as a program it serves until it is killed: `python tests/servers/grpc_faults.py PORT`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parents[2] / "protos"
SERVICE = "goodgo.user.v1.UserService"


def compile_protos(into: Path, more: Mapping[str, str] | None = None) -> Path:
    """The descriptor set of the project's protos and of `more` (name → text), written into a folder."""
    path = into / "protos.binpb"
    for name, text in (more or {}).items():
        (into / name).write_text(text)
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTOS}", f"-I{into}", f"-I{well_known}", "--include_imports"]
    if protoc.main([*arguments, f"--descriptor_set_out={path}", "goodgo/user/v1/user.proto", *(more or {})]) != 0:
        raise RuntimeError("protoc failed")
    return path


def load_pool(path: Path) -> descriptor_pool.DescriptorPool:
    """A pool of its own with the files of a descriptor set, which protoc writes in the order of their imports."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file:
        pool.Add(file)
    return pool


class FaultyUsers:
    """A `UserService` on a real gRPC server; `user_id` chooses what it does, anything else is a good reply.

    Attributes:
        arrived: ids of the requests that reached a handler, in order.
        cancelled: ids of the requests whose caller went away.
        metadata: metadata of the last request.
        remaining: seconds that the last request's `grpc-timeout` left.
        raw: reply messages of further methods, as bytes.
        reflections: versions of the reflection streams that were opened, in order.
        versions: versions of reflection that it speaks.
        describing: cleared, reflection waits.
        refuse_reflection: how many of them fail before the first works.

    Args:
        folder: takes the descriptor set.
        port: a free one by default.
        compression: of replies.
        more: further `.proto` files, name → text.
        credentials: of a server that speaks TLS.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        compression: grpc.Compression | None = None,
        more: Mapping[str, str] | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.pool = load_pool(compile_protos(folder, more))
        self.raw: dict[str, bytes] = {}
        self.arrived: list[str] = []
        self.cancelled: list[str] = []
        self.metadata: list[tuple[str, str | bytes]] = []
        self.remaining: float | None = None
        self.reflections: list[str] = []
        self.refuse_reflection = 0
        self.versions = ["v1", "v1alpha"]
        self.describing = asyncio.Event()
        self.describing.set()
        self.port = port
        self._compression = compression
        self._credentials = credentials

    async def start(self) -> Self:
        """Listen; port 0 takes a free one."""
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)], compression=self._compression)
        unary = grpc.unary_unary_rpc_method_handler(self._get, self._parse("GetUserRequest"), _serialize)
        stream = grpc.unary_stream_rpc_method_handler(self._updates, self._parse("StreamRequest"), _serialize)
        handlers = {"GetUser": unary, "StreamUserUpdates": stream}
        self.server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers), _Reflection(self))
        )
        address = f"127.0.0.1:{self.port}"
        if self._credentials is None:
            self.port = self.server.add_insecure_port(address)
        else:
            self.port = self.server.add_secure_port(address, self._credentials)
        await self.server.start()
        return self

    async def stop(self) -> None:
        """Close every connection."""
        await self.server.stop(None)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def message(self, name: str, **fields: Any) -> Message:
        """A message of the package."""
        kind = message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"goodgo.user.v1.{name}"))
        return kind(**fields)

    def _parse(self, name: str) -> Callable[[bytes], Message]:
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"goodgo.user.v1.{name}")).FromString

    def _note(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        self.arrived.append(request.user_id)
        self.metadata = list(context.invocation_metadata() or ())
        self.remaining = context.time_remaining()
        return str(request.user_id)

    async def _get(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        wanted = self._note(request, context)
        await context.send_initial_metadata((("x-initial", "1"), ("x-some-bin", b"\x00\xff")))
        context.set_trailing_metadata((("x-trailing", "2"),))
        if wanted.startswith("status:"):
            await context.abort(grpc.StatusCode[wanted.removeprefix("status:")], "the server says so")
        match wanted:
            case "slow-down":
                await _abort_with_details(context, grpc.StatusCode.RESOURCE_EXHAUSTED, seconds=1.5)
            case "push-back":
                context.set_trailing_metadata((("grpc-retry-pushback-ms", "2500"),))
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "not now")
            case "details":
                await _abort_with_details(context, grpc.StatusCode.INVALID_ARGUMENT, seconds=None)
            case "raise":
                raise RuntimeError("a secret of the server")
            case "hang":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.cancelled.append(wanted)
                    raise
            case "huge":
                return self.message("GetUserResponse", user={"name": "x" * 64 * 1024 * 1024})
            case "big":
                return self.message("GetUserResponse", user={"name": "x" * 512 * 1024})
            case "unparseable":
                return b"\xff\xff\xff"
            case "not-utf-8":
                return b"\x0a\x04\x0a\x02\xff\xfe"
            case "much-metadata":
                context.set_trailing_metadata((("x-much", "y" * 200_000),))
        user = {"id": wanted, "name": "Ada", "email": "ada@example.com"}
        return self.message("GetUserResponse", user=user)

    async def _updates(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        wanted = self._note(request, context)
        sent = 0
        try:
            while not request.count or sent < request.count:
                sent += 1
                yield self.message("UserUpdate", user={"id": wanted}, sequence=sent)
                if wanted == "pause":
                    await asyncio.Event().wait()
                if wanted == "drip":
                    await asyncio.sleep(0.02)
                if wanted == "fail-late" and sent == 2:
                    await context.abort(grpc.StatusCode.ABORTED, "after two")
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(wanted)
            raise


def _serialize(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


async def _abort_with_details(
    context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, *, seconds: float | None
) -> None:
    status = status_pb2.Status(code=code.value[0], message="in detail")
    if seconds is not None:
        delay = duration_pb2.Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    else:
        violation = error_details_pb2.BadRequest.FieldViolation(field="user_id", description="too short")
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        status.details.append(any_pb2.Any(type_url="type.example.com/some.Unknown", value=b"\x01\x02"))
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    await context.abort(code, "in detail")


class _Reflection(grpc.GenericRpcHandler):
    """Server reflection, v1 and v1alpha, whose messages are the same; each answer has one file. And raw replies."""

    def __init__(self, users: FaultyUsers) -> None:
        self._users = users
        names = [SERVICE, "shop.v1.Shop", reflection.SERVICE_NAME]
        self._servicer = reflection.aio.ReflectionServicer(names, pool=users.pool)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method."""
        if details.method in self._users.raw:
            return grpc.unary_unary_rpc_method_handler(self._raw_reply(self._users.raw[details.method]))
        for version in self._users.versions:
            if details.method == f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo":
                self._users.reflections.append(version)
                return grpc.stream_stream_rpc_method_handler(
                    self._answer,
                    reflection_pb2.ServerReflectionRequest.FromString,
                    reflection_pb2.ServerReflectionResponse.SerializeToString,
                )
        return None

    def _raw_reply(self, reply: bytes) -> Any:
        async def handle(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            return reply

        return handle

    async def _answer(self, requests: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        self._users.metadata = list(context.invocation_metadata() or ())
        await self._users.describing.wait()
        if self._users.refuse_reflection:
            self._users.refuse_reflection -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no reflection now")
        async for answer in self._servicer.ServerReflectionInfo(requests, context):
            if answer.HasField("file_descriptor_response"):
                del answer.file_descriptor_response.file_descriptor_proto[1:]
            yield answer


async def serve_forever(port: int, folder: Path) -> None:
    """Serve `FaultyUsers` until the process is killed."""
    async with FaultyUsers(folder, port=port) as users:
        await users.server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve_forever(int(sys.argv[1]), Path(sys.argv[2])))
