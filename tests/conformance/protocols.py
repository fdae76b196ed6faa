"""The protocols that keep the contract: how each is called, and a server that misbehaves in it until it recovers."""

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from gateway.call import Call, GraphQLCall, GrpcCall, RestCall
from gateway.policy import Policy
from gateway.service import GraphQLEndpoint, GrpcEndpoint, RestEndpoint, Service
from tests.servers.grpc_raw import Behaviour, RawServer
from tests.servers.grpc_raw_faults import FAULTS, drip_messages, endless_messages, good, hang, reset
from tests.servers.http_faults import HttpFaults
from workers.transports.base import Transport
from workers.transports.graphql import GraphQLTransport
from workers.transports.rest import RestTransport
from workers.transports.rpc import GrpcTransport

__all__ = ["OVER_GRPC", "OVER_HTTP", "Misbehaving", "Protocol", "graphql_to", "rest_to"]

_ROOT = Path(__file__).resolve().parents[2]


def rest_to(url: str, policy: Policy) -> Transport:
    return RestTransport(Service(name="faults", policy=policy, rest=RestEndpoint(url=url)))


def graphql_to(url: str, policy: Policy) -> Transport:
    return GraphQLTransport(Service(name="faults", policy=policy, graphql=GraphQLEndpoint(url=url)))


def grpc_to(target: str, policy: Policy) -> Transport:
    endpoint = GrpcEndpoint(target=target, protos=["goodgo/user/v1/user.proto"])
    return GrpcTransport(Service(name="faults", policy=policy, grpc=endpoint), _ROOT)


class Misbehaving:
    """A server on a loopback port of its own that does one thing wrong until it recovers.

    Args:
        serve: makes the server for a listening socket and the fault; None: no fault.
        fault: as the contract names it.
    """

    def __init__(self, serve: Callable[[socket.socket, str | None], Any], fault: str) -> None:
        self._serve = serve
        self._fault = fault
        self._server: Any = None
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._fillers: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]

    @property
    def heads(self) -> int:
        """How many requests have arrived, completely or not."""
        return 0 if self._server is None else int(self._server.heads)

    async def __aenter__(self) -> Self:
        if self._fault == "hang before accepting":
            # One connection fills the queue; the kernel answers no other.
            self._listener.listen(0)
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(self._listener.getsockname())
                self._fillers.append(filler)
        elif self._fault != "refuse":
            self._server = await self._serve(self._listener, self._fault).__aenter__()
        return self

    async def recover(self) -> None:
        """Be a good server from now on, at the same address."""
        for filler in self._fillers:
            filler.close()
        if self._server is None:
            self._server = await self._serve(self._listener, None).__aenter__()
        elif isinstance(self._server, HttpFaults):
            self._server.misbehave, self._server.on_accept = None, "read"
        else:
            self._server.behave, self._server.on_accept, self._server.on_head = good, None, None

    async def __aexit__(self, *_: object) -> None:
        for filler in self._fillers:
            filler.close()
        if self._server is not None:
            await self._server.__aexit__(None, None, None)
        self._listener.close()


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A protocol, or a way to use one.

    Attributes:
        name: `family` or `family-way`.
        call: what is asked; it asks the address itself.
        data: what a good server answers.
        connect: makes a transport for an address.
        address: before `host:port`.
        serve: see `Misbehaving`.
        reconnects: whether a connection that could not be made is tried again at once by the next call; if not, the
            library waits for a second at most.
    """

    name: str
    call: Call
    data: Any
    connect: Callable[[str, Policy], Transport]
    address: str = "http://"
    serve: Callable[[socket.socket, str | None], Any] = field(repr=False)
    reconnects: bool = True

    @property
    def family(self) -> str:
        return self.name.partition("-")[0]

    def __str__(self) -> str:
        return self.name

    def to(self, port: int, policy: Policy) -> Transport:
        """A transport for a loopback port."""
        return self.connect(f"{self.address}127.0.0.1:{port}", policy)

    def misbehaving(self, fault: str) -> Misbehaving:
        """The server for a fault."""
        return Misbehaving(self.serve, fault)


#: Fault of the contract → path of `HttpFaults`.
_PATHS: Mapping[str, str] = {
    "hang after reading": "hang-after-reading",
    "drip": "drip",
    "reset before the request was read": "reset-while-sending",
    "reset after the request was read": "reset-after-reading",
    "truncate the connection": "truncated-body",
    "truncate the message": "truncated-message",
    "garbage": "garbage",
    "huge body": "huge-body",
    "wrong content type": "html",
    "not what the content type says": "wrong-type",
    "compressed bomb": "coded/gzip/bomb",
}

#: Fault of the contract → behaviour of `RawServer` once a request arrived.
_BEHAVIOURS: Mapping[str, Behaviour] = {
    "hang after reading": FAULTS["hang"],
    "drip": FAULTS["drip"],
    "reset after the request was read": FAULTS["reset"],
    "truncate the connection": FAULTS["truncate"],
    "truncate the message": FAULTS["truncate-message"],
    "garbage": FAULTS["garbage"],
    "huge body": FAULTS["huge"],
    "wrong content type": FAULTS["html"],
    "not what the content type says": FAULTS["nonsense"],
    "compressed bomb": FAULTS["bomb"],
}


def _http(listener: socket.socket, fault: str | None) -> HttpFaults:
    server = HttpFaults(listener=listener)
    if fault == "hang before reading":
        server.on_accept = "hang"
    elif fault == "reset on accepting":
        server.on_accept = "reset"
    elif fault is not None:
        server.misbehave = _PATHS[fault]
    return server


def _grpc(special: Mapping[str, Behaviour]) -> Callable[[socket.socket, str | None], RawServer]:
    def serve(listener: socket.socket, fault: str | None) -> RawServer:
        server = RawServer(good, listener=listener)
        if fault == "hang before reading":
            server.on_accept = hang
        elif fault == "reset on accepting":
            server.on_accept = reset
        elif fault == "reset before the request was read":
            server.on_head = reset
        elif fault is not None:
            server.behave = {**_BEHAVIOURS, **special}[fault]
        return server

    return serve


_ANSWER = {"data": {"ok": True}}
_UNARY = Protocol(
    name="grpc-unary",
    call=GrpcCall("faults", "goodgo.user.v1.UserService/GetUser", {"user_id": "7"}),
    data={"user": {"id": "", "name": "Ada", "email": ""}},
    connect=grpc_to,
    address="",
    serve=_grpc({}),
    reconnects=False,
)

OVER_HTTP = [
    Protocol(name="rest-get", call=RestCall("faults", "GET", "/"), data=_ANSWER, connect=rest_to, serve=_http),
    Protocol(
        name="rest-post",
        call=RestCall("faults", "POST", "/", json={"n": 1}),
        data=_ANSWER,
        connect=rest_to,
        serve=_http,
    ),
    Protocol(
        name="graphql", call=GraphQLCall("faults", "query { ok }"), data={"ok": True}, connect=graphql_to, serve=_http
    ),
]
OVER_GRPC = [
    _UNARY,
    replace(
        _UNARY,
        name="grpc-stream",
        call=GrpcCall("faults", "goodgo.user.v1.UserService/StreamUserUpdates", {"user_id": "7"}),
        data=[{"user": {"id": "", "name": "Ada", "email": ""}, "sequence": "0"}],
        serve=_grpc({"drip": drip_messages, "huge body": endless_messages}),
    ),
]
