"""The users over gRPC, without generated code: the `.proto` file is compiled when the service starts."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Never

import grpc
import grpc.aio
from google.protobuf import descriptor_pool, duration_pb2, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status
from grpc_tools import protoc

from examples.user_service.behaviour import HEADER, Behaviours, InvalidBehaviour, Misbehaviour
from examples.user_service.journal import Journal
from examples.user_service.users import InvalidUser, User, UserNotFound, Users
from gateway.server import ServiceAuthInterceptor, ServiceKeys
from gateway.server.grpc import HEALTH, REFLECTION

__all__ = ["SERVICE", "RpcServer"]

SERVICE = "goodgo.user.v1.UserService"
_PROTOS = Path(__file__).resolve().parents[2] / "protos"
_PROTO = "goodgo/user/v1/user.proto"

#: Between two updates of a stream.
_INTERVAL_S = 0.02

_MISBEHAVIOURS = {
    "fail": code_pb2.INTERNAL,
    "unavailable": code_pb2.UNAVAILABLE,
    "rate-limit": code_pb2.RESOURCE_EXHAUSTED,
}

Context = grpc.aio.ServicerContext[Any, Any]


def load_messages() -> Callable[[str], type[Message]]:
    """Compile the `.proto` file; returns what gives the class of a message, by its name in the package.

    Raises:
        RuntimeError: it does not compile; the compiler wrote why to stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "user.pb"
        argv = ["protoc", f"--proto_path={_PROTOS}", f"--descriptor_set_out={compiled}", "--include_imports", _PROTO]
        if protoc.main(argv) != 0:
            raise RuntimeError(f"{_PROTO} does not compile")
        files = FileDescriptorSet.FromString(compiled.read_bytes())
    # The default pool, because reflection also describes the health service, which is registered there.
    pool = descriptor_pool.Default()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"goodgo.user.v1.{name}"))


class RpcServer:
    """A gRPC server with the users, the standard health service and reflection.

    Args:
        address: `host:port`; port 0 takes a free one.

    Raises:
        RuntimeError: the address cannot be bound.
    """

    def __init__(
        self, users: Users, keys: ServiceKeys, journal: Journal, behaviours: Behaviours, *, address: str
    ) -> None:
        self._users = users
        self._journal = journal
        self._behaviours = behaviours
        self._health = health.aio.HealthServicer()
        message = load_messages()
        self._user, self._response, self._update = message("User"), message("GetUserResponse"), message("UserUpdate")
        self._server = grpc.aio.server(
            interceptors=[ServiceAuthInterceptor(keys, exempt=HEALTH + REFLECTION)],
            # Without it a second server could take the same port, and the two would share the calls.
            options=[("grpc.so_reuseport", 0)],
        )
        methods = {
            "GetUser": grpc.unary_unary_rpc_method_handler(
                self.get_user,
                request_deserializer=message("GetUserRequest").FromString,
                response_serializer=self._response.SerializeToString,
            ),
            "StreamUserUpdates": grpc.unary_stream_rpc_method_handler(
                self.stream_user_updates,
                request_deserializer=message("StreamRequest").FromString,
                response_serializer=self._update.SerializeToString,
            ),
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = self._server.add_insecure_port(address)

    async def start(self) -> None:
        """Serve from now on."""
        await self._server.start()
        for name in ("", SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and cancel after a grace period those that run."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_s)

    async def get_user(self, request: Any, context: Context) -> Any:
        """`GetUser`: one user, NOT_FOUND or INVALID_ARGUMENT."""
        headers = _headers(context)
        with self._journal.request(f"{SERVICE}/GetUser", headers, _remaining(context)):
            await self._misbehave("GetUser", headers, context)
            return self._response(user=self._message(await self._find(request.user_id, context)))

    async def stream_user_updates(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """`StreamUserUpdates`: the user as it is each time, `count` times or until the caller ends the call."""
        headers = _headers(context)
        with self._journal.request(f"{SERVICE}/StreamUserUpdates", headers, _remaining(context)):
            await self._misbehave("StreamUserUpdates", headers, context)
            if request.count < 0:
                await _invalid(context, "count", f"{request.count} is negative")
            sequence = 0
            while True:
                sequence += 1
                user = await self._find(request.user_id, context)
                yield self._update(user=self._message(user), sequence=sequence)
                if sequence == request.count:
                    return
                await asyncio.sleep(_INTERVAL_S)

    def _message(self, user: User) -> Message:
        return self._user(**user.to_json())

    async def _find(self, user_id: str, context: Context) -> User:
        try:
            return self._users.get(user_id)
        except UserNotFound as error:
            resource = error_details_pb2.ResourceInfo(
                resource_type="goodgo.user.v1.User", resource_name=user_id, description=str(error)
            )
            await _abort(context, code_pb2.NOT_FOUND, str(error), resource)
        except InvalidUser as error:
            await _invalid(context, error.field, error.why)

    async def _misbehave(self, method: str, headers: dict[str, str], context: Context) -> None:
        caller = (method, headers.get("x-correlation-id", ""))
        try:
            # A call that nobody waits for any more is cancelled by grpc.
            await self._behaviours.show(headers.get(HEADER), caller=caller, gone=asyncio.Event().wait)
        except InvalidBehaviour as error:
            await _invalid(context, HEADER, str(error))
        except Misbehaviour as error:
            details: list[Message] = []
            if error.retry_after_s is not None:
                delay = duration_pb2.Duration(seconds=error.retry_after_s)
                details.append(error_details_pb2.RetryInfo(retry_delay=delay))
            await _abort(context, _MISBEHAVIOURS[error.failure], str(error), *details)


def _headers(context: Context) -> dict[str, str]:
    """The call's metadata without binary values; of a repeated name the last."""
    return {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}


def _remaining(context: Context) -> float | None:
    """Seconds until the caller's deadline, if it set one."""
    remaining: float | None = context.time_remaining()
    return remaining


async def _invalid(context: Context, field: str, why: str) -> Never:
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=why)
    details = error_details_pb2.BadRequest(field_violations=[violation])
    await _abort(context, code_pb2.INVALID_ARGUMENT, f"{field}: {why}", details)


async def _abort(context: Context, code: int, message: str, *details: Message) -> Never:
    """End a call with a rich error (google.rpc.Status in `grpc-status-details-bin`)."""
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        status.details.add().Pack(detail)
    await context.abort_with_status(rpc_status.to_status(status))
