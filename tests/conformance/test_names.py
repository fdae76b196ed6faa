"""Services at names: what a name resolves to is checked, is all that is connected to, and is looked up again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
import trustme

from gateway.call import RestCall
from gateway.dev.process import free_port
from gateway.errors import CallRejectedError, Delivery, ServiceUnavailableError
from gateway.network import Network
from gateway.outcome import Failure
from gateway.policy import Connections, Policy, Timeouts
from gateway.service import GrpcEndpoint, RestEndpoint, Service
from tests.conformance.contract import attempt_of, eventually
from tests.conformance.grpc_calls import ROOT, answered, failed, make_attempt
from tests.servers.names import Names
from workers.resilience.health import Health, health_of
from workers.transports.base import Answer, Transport
from workers.transports.rest import RestTransport
from workers.transports.rpc import GrpcTransport

NAME = "users.example"
LOOPBACK = Network(allow=("loopback",))


class Listener:
    """Counts connections to one port at some loopback addresses; answers none."""

    def __init__(self) -> None:
        self.arrived: list[str] = []
        self.port = free_port()
        self._stack = AsyncExitStack()

    async def at(self, *addresses: str) -> "Listener":
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.arrived.append(writer.get_extra_info("sockname")[0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}")
            await reader.read()
            writer.close()

        for address in addresses:
            await self._stack.enter_async_context(await asyncio.start_server(take, address, self.port))
        return self

    async def close(self) -> None:
        await self._stack.aclose()


def rest(port: int, network: Network = LOOPBACK) -> Transport:
    service = Service(name="users", policy=Policy(), rest=RestEndpoint(url=f"http://{NAME}:{port}"), network=network)
    return RestTransport(service)


def rpc(port: int, network: Network = LOOPBACK, **endpoint: Any) -> GrpcTransport:
    policy = Policy(timeouts=Timeouts(attempt=2.0), connections=Connections(keepalive=1.0))
    described = {"target": f"{NAME}:{port}", "protos": ["goodgo/user/v1/user.proto"], **endpoint}
    return GrpcTransport(Service(name="users", policy=policy, grpc=GrpcEndpoint(**described), network=network), ROOT)


async def ask(transport: Transport) -> Answer | Failure:
    if isinstance(transport, GrpcTransport):
        return await transport.send(make_attempt("7"))
    return await transport.send(attempt_of(RestCall("users", "GET", "/")))


@pytest.mark.parametrize("make", [rest, rpc])
@pytest.mark.parametrize(
    ("addresses", "network"),
    [
        (["127.0.0.1"], Network()),
        (["127.0.0.1", "::1"], Network()),
        (["127.0.0.1"], Network(allow=("10.0.0.0/8",))),
        (["169.254.169.254"], Network(allow=("private",))),
        (["0.0.0.0"], Network(allow=("private", "loopback"))),
        (["::ffff:127.0.0.1"], Network()),
        (["::"], Network(allow=("private",))),
        (["fe80::1%lo"], Network(allow=("private",))),
    ],
    ids=str,
)
async def test_nothing_is_connected_to(
    make: Callable[..., Transport], addresses: list[str], network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, {NAME: addresses})
    listener = await Listener().at("127.0.0.1")
    transport = make(listener.port, network)
    for _ in range(2):
        outcome = await ask(transport)
        failure = failed(outcome, CallRejectedError, Delivery.NOT_SENT)
        assert not failure.repeatable
        assert NAME in failure.message
        assert any(address in failure.message for address in addresses)
        assert "allow" in failure.message
        assert health_of(failure, cut_short=False) is Health.NEUTRAL
    await transport.close()
    await listener.close()
    assert names.asked
    assert listener.arrived == []


@pytest.mark.parametrize("make", [rest, rpc])
async def test_of_several_addresses_only_the_permitted_ones_are_used(
    make: Callable[..., Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, {NAME: ["127.0.0.1", "169.254.169.254", "127.0.0.3", "127.0.0.2", "::1"]})
    listener = await Listener().at("127.0.0.1", "127.0.0.2", "127.0.0.3")
    transport = make(listener.port, Network(allow=("127.0.0.2/32", "::1/128")))
    await ask(transport)
    await eventually(lambda: listener.arrived)
    await transport.close()
    await listener.close()
    assert set(listener.arrived) == {"127.0.0.2"}


@pytest.mark.parametrize("make", [rest, rpc])
async def test_a_name_without_an_address_is_unavailable(
    make: Callable[..., Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    Names(monkeypatch, {NAME: []})
    transport = make(1)
    failure = failed(await ask(transport), ServiceUnavailableError, Delivery.NOT_SENT)
    assert f"no address for {NAME}" in failure.message
    await transport.close()


async def test_an_answer_that_changes_between_check_and_use_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second question would be answered with another address, and is not asked."""
    names = Names(monkeypatch, {NAME: [["127.0.0.2"], ["127.0.0.1"]]})
    listener = await Listener().at("127.0.0.1", "127.0.0.2")
    transport = rest(listener.port, Network(allow=("127.0.0.2/32",)))
    assert isinstance(await ask(transport), Answer)
    await transport.close()
    await listener.close()
    assert listener.arrived == ["127.0.0.2"]
    assert names.asked == [NAME]


class Users(grpc.GenericRpcHandler):
    """A gRPC server at one address.

    Attributes:
        asked: how many RPCs it had.
        goes_on: until it is set, none is answered.
    """

    def __init__(self, address: str, port: int, tls: grpc.ServerCredentials | None = None) -> None:
        self.asked = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        place = f"{address}:{port}"
        bound = self._server.add_secure_port(place, tls) if tls else self._server.add_insecure_port(place)
        assert bound == port

    def service(self, handler_call_details: Any) -> Any:
        async def answer(request: bytes, context: Any) -> bytes:
            self.asked += 1
            await self.goes_on.wait()
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)

    async def __aenter__(self) -> "Users":
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)


async def until_answered(send: Callable[[], Awaitable[Answer | Failure]]) -> None:
    async with asyncio.timeout(5):
        while isinstance(await send(), Failure):  # noqa: ASYNC110 - a service in another place tells nobody
            await asyncio.sleep(0.02)


async def test_a_service_that_moved_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, {NAME: ["127.0.0.2"]})
    port = free_port()
    transport = rpc(port)
    async with Users("127.0.0.2", port) as old:
        answered(await transport.send(make_attempt("7")))
        assert old.asked
    async with Users("127.0.0.3", port) as new:
        names.table[NAME] = ["127.0.0.3"]
        await until_answered(lambda: transport.send(make_attempt("7")))
        assert new.asked
        # And back, while the new one still runs: from an idle connection on.
        async with Users("127.0.0.2", port) as back:
            await eventually(lambda: "IDLE" in repr(transport), within=4.0)
            names.table[NAME] = ["127.0.0.2"]
            answered(await transport.send(make_attempt("7")))
            assert back.asked == 1
    await transport.close()


async def test_a_name_that_turns_hostile_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, {NAME: ["127.0.0.2"]})
    port = free_port()
    transport = rpc(port, Network(allow=("127.0.0.2/32",)))
    async with Users("127.0.0.2", port) as old:
        answered(await transport.send(make_attempt("7")))
        assert old.asked
    async with Users("127.0.0.1", port) as hostile:
        names.table[NAME] = ["127.0.0.1"]
        # The end of the old server may arrive with the first attempt, which is not sent then.
        await transport.send(make_attempt("7"))
        for addresses in (["127.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"]):
            names.table[NAME] = addresses
            failed(await transport.send(make_attempt("7")), CallRejectedError, Delivery.NOT_SENT)
        assert hostile.asked == 0
    # Nor is it asked where it was before, until its name says so again.
    async with Users("127.0.0.2", port) as back:
        names.table[NAME] = []
        failed(await transport.send(make_attempt("7")), ServiceUnavailableError, Delivery.NOT_SENT)
        assert back.asked == 0
        names.table[NAME] = ["127.0.0.2"]
        answered(await transport.send(make_attempt("7")))
    await transport.close()


async def test_what_was_found_serves_while_the_name_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, {NAME: ["127.0.0.2"]})
    port = free_port()
    transport = rpc(port)
    async with Users("127.0.0.2", port):
        answered(await transport.send(make_attempt("7")))
    names.table[NAME] = []
    async with Users("127.0.0.2", port) as back:
        await until_answered(lambda: transport.send(make_attempt("7")))
        assert back.asked == 1
    assert len(names.asked) > 1
    await transport.close()


@pytest.mark.parametrize("closes", [False, True])
async def test_calls_in_flight_outlive_a_move(closes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, {NAME: ["127.0.0.2"]})
    port = free_port()
    transport = rpc(port)
    async with Users("127.0.0.2", port) as old, Users("127.0.0.3", port) as new:
        old.goes_on.clear()
        running = asyncio.ensure_future(transport.send(make_attempt("7", budget=8.0)))
        await eventually(lambda: old.asked)
        names.table[NAME] = ["127.0.0.3"]
        transport._open()._retire()  # as when its connection is told to go away, and drains
        answered(await transport.send(make_attempt("7")))
        assert new.asked == 1
        if closes:
            await transport.close()
            failed(await running, ServiceUnavailableError, Delivery.MAYBE_SENT)
        else:
            old.goes_on.set()
            answered(await running)
            await transport.close()


async def test_one_question_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch, {NAME: ["127.0.0.2"]})
    port = free_port()
    transport = rpc(port)
    async with Users("127.0.0.2", port) as users:
        results: Sequence[Any] = await asyncio.gather(*(transport.send(make_attempt("7")) for _ in range(50)))
        for result in results:
            answered(result)
        assert users.asked == 50
    assert len(names.asked) == 1
    await transport.close()


@pytest.mark.parametrize("certificate", [NAME, "other.example"])
async def test_tls_goes_by_the_name_in_the_catalogue(certificate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert(certificate)
    pair = (issued.private_key_pem.bytes(), b"".join(part.bytes() for part in issued.cert_chain_pems))
    trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    monkeypatch.setattr(grpc, "ssl_channel_credentials", lambda *args, **kwargs: trusted)
    Names(monkeypatch, {NAME: ["127.0.0.2"]})
    port = free_port()
    transport = rpc(port, tls=True)
    async with Users("127.0.0.2", port, grpc.ssl_server_credentials([pair])) as users:
        result = await transport.send(make_attempt("7"))
        if certificate == NAME:
            answered(result)
        else:
            failed(result, ServiceUnavailableError, Delivery.NOT_SENT)
            assert users.asked == 0
    await transport.close()
