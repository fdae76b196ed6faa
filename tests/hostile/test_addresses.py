"""Addresses where no call may go: refused when the catalogue is loaded, or else when a name turns out to lead there."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway import Catalogue
from gateway.catalogue import CatalogueError
from gateway.dev.valkey import Valkey
from gateway.errors import CallRejectedError, Delivery
from gateway.network import Network
from gateway.outcome import Failure
from gateway.policy import Policy
from gateway.reply import Reply
from gateway.service import GrpcEndpoint, RestEndpoint, Service
from tests.conformance.contract import attempt_of
from tests.conformance.grpc_calls import ROOT, make_attempt
from tests.hostile.case import Address, graphql, grpc, rest
from tests.hostile.families import cases
from tests.hostile.recorder import Recorder, RpcRecorder
from tests.servers.names import Names
from workers.executor import Executor
from workers.transports.rest import RestTransport
from workers.transports.rpc import GrpcTransport

ADDRESSES = cases(Address)
WRITTEN = [address for address in ADDRESSES if address.resolves is None]
NAMED = [address for address in ADDRESSES if address.resolves is not None]
PROTOS = {"protos": ["goodgo/user/v1/user.proto"], "include": [str(ROOT / "protos")]}


def document(address: Address, port: int) -> dict[str, Any]:
    table = {
        "rest": {"url": f"http://{address.host}:{port}"},
        "graphql": {"url": f"http://{address.host}:{port}/graphql"},
        "grpc": {"target": f"{address.host}:{port}", **PROTOS},
        "network": {"allow": list(address.allow)},
        "breaker": {"fail_max": 1},
    }
    return {"services": {"users": table}}


@pytest.mark.parametrize("address", WRITTEN, ids=lambda address: address.name)
def test_a_catalogue_that_has_it_is_refused(address: Address) -> None:
    with pytest.raises(CatalogueError) as refused:
        Catalogue.parse(document(address, 80), environ={})
    for key in ("rest.url", "graphql.url", "grpc.target"):
        assert any(key in problem for problem in refused.value.problems), refused.value.problems


@pytest.mark.parametrize("address", WRITTEN, ids=lambda address: address.name)
async def test_a_transport_that_has_it_connects_to_nothing(address: Address) -> None:
    """Behind the catalogue's back, such as by an interceptor of one's own."""
    users, rpc = Recorder(), RpcRecorder()
    network = Network(allow=address.allow)
    for port, make, attempt in (
        (users.port, _rest, attempt_of(_call(rest()))),
        (rpc.port, _rpc, make_attempt("7")),
    ):
        try:
            transport = make(f"{address.host}:{port}", network)
        except Exception as error:
            assert isinstance(error, ValueError) or type(error).__name__ == "InvalidURL"  # noqa: PT017
            continue
        async with asyncio.timeout(20):
            outcome = await transport.send(attempt)
        # What is only another way to write a loopback address may be unreadable; nothing else may be tried.
        assert isinstance(outcome, Failure), outcome
        assert outcome.delivery is Delivery.NOT_SENT
        assert attempt.wire.sent is None
        await transport.close()
    reached = users.connections, len(rpc.rpcs)
    users.close()
    rpc.close()
    assert reached == (0, 0)


def _call(wire: dict[str, Any]) -> Any:
    import msgspec

    from gateway.envelope import Envelope

    return msgspec.convert({"version": 1, "call": wire}, Envelope).call


def _rest(place: str, network: Network) -> Any:
    return RestTransport(
        Service(name="users", policy=Policy(), rest=RestEndpoint(url=f"http://{place}"), network=network)
    )


def _rpc(place: str, network: Network) -> Any:
    endpoint = GrpcEndpoint(target=place, **PROTOS)  # type: ignore[arg-type]
    return GrpcTransport(Service(name="users", policy=Policy(), grpc=endpoint, network=network), ROOT)


class Desk:
    """An executor with its real transports, and services with ledgers on one port each."""

    def __init__(self, valkey: Valkey) -> None:
        self.users, self.rpc = Recorder(), RpcRecorder()
        self._url = valkey.url(3)
        self.executor: Executor | None = None
        self._asked = 0

    async def open(self, table: dict[str, Any]) -> None:
        await self.close()
        catalogue = Catalogue.parse(table, environ={})
        self.executor = Executor(catalogue, {}, result_url=self._url, result_prefix="t-", worker="w")
        await self.executor.start()

    async def ask(self, wire: dict[str, Any]) -> Any:
        assert self.executor is not None
        self._asked += 1
        kwargs = {"version": 1, "call": wire, "deadline_s": 20.0}
        return await self.executor.perform(f"call-{id(self)}-{self._asked}", [], kwargs, {}, lambda: b"")

    async def close(self) -> None:
        if self.executor is not None:
            await self.executor.close()


@pytest.fixture
async def desk(valkey: Valkey) -> AsyncIterator[Desk]:
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(valkey.url(3))
    await client.flushdb()
    await client.aclose()
    made = Desk(valkey)
    yield made
    await made.close()
    made.users.close()
    made.rpc.close()


@pytest.mark.parametrize("address", NAMED, ids=lambda address: address.name)
async def test_a_name_that_leads_there_is_not_followed(
    address: Address, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(monkeypatch, {address.host: address.resolves or ()})
    table = document(address, desk.users.port)
    table["services"]["users"]["grpc"]["target"] = f"{address.host}:{desk.rpc.port}"
    await desk.open(table)
    for wire in (rest(), graphql(), grpc()):
        error = await desk.ask(wire)
        assert isinstance(error, CallRejectedError), repr(error)
        assert error.delivery is Delivery.NOT_SENT
        assert error.attempts == 1, "not repeated"
        assert address.host in error.message
        assert any(one.partition("%")[0] in error.message for one in address.resolves or ())
    assert names.asked
    assert (desk.users.connections, desk.rpc.rpcs) == (0, [])


async def test_a_name_that_is_corrected_works_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The breaker, which one failure would open, counts none of it. And what is allowed does arrive."""
    names = Names(monkeypatch, {"users.example": ["169.254.169.254"]})
    address = Address(family="", name="", host="users.example", allow=("loopback",))
    table = document(address, desk.users.port)
    table["services"]["users"]["grpc"]["target"] = f"users.example:{desk.rpc.port}"
    await desk.open(table)
    for wire in (graphql(), grpc(), graphql(), grpc()):
        assert isinstance(await desk.ask(wire), CallRejectedError)
    names.table["users.example"] = ["127.0.0.1"]
    assert isinstance(await desk.ask(rest()), Reply)
    assert isinstance(await desk.ask(grpc()), Reply)
    assert (len(desk.users.heads), len(desk.rpc.rpcs)) == (1, 1)
