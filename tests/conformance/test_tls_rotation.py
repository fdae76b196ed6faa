"""New certificates, keys and authorities without a restart, over each protocol and on real TLS connections."""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.outcome import Failure
from tests.conformance.contract import attempt_of, eventually, send_within
from tests.conformance.protocols import OVER_GRPC, Protocol
from tests.conformance.secured import ONE_OF_EACH, context_for, secured_transport, serve
from tests.servers.authority import PemFiles
from tests.servers.grpc_raw import RawConnection, RawServer
from tests.servers.grpc_raw_faults import good
from workers.transports import tls as tls_module
from workers.transports.base import Answer, Transport

over_each_protocol = pytest.mark.parametrize("protocol", ONE_OF_EACH, ids=str)


@pytest.fixture
def files(tmp_path: Path) -> PemFiles:
    return PemFiles(tmp_path)


@pytest.fixture
def looks_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_module, "_LOOK_S", 0.0)


async def ask(transport: Transport, protocol: Protocol) -> Answer | Failure:
    return await send_within(transport, attempt_of(protocol.call, {"connect": 2.0}))


async def answers(transport: Transport, protocol: Protocol) -> None:
    outcome = await ask(transport, protocol)
    assert isinstance(outcome, Answer), outcome


async def fails(transport: Transport, protocol: Protocol) -> None:
    outcome = await ask(transport, protocol)
    assert isinstance(outcome, Failure), outcome


def serial(reference: str) -> str:
    decoded: dict[str, Any] = ssl._ssl._test_decode_cert(reference.removeprefix("file:"))  # type: ignore[attr-defined]
    return str(decoded["serialNumber"])


@over_each_protocol
@pytest.mark.usefixtures("looks_always")
async def test_a_new_certificate_is_shown_and_old_connections_are_not_used(protocol: Protocol, files: PemFiles) -> None:
    table = files.table(shows=files.other)
    assert table.cert is not None
    shown = [serial(table.cert)]
    async with serve(protocol, context_for(protocol, files, demands=files.other)) as server:
        transport = secured_transport(protocol, server.port, table)
        await answers(transport, protocol)
        await answers(transport, protocol)
        assert server.peers == shown, "one connection"
        for _ in range(2):
            files.client(files.other)
            shown.append(serial(table.cert))
            await answers(transport, protocol)
            await answers(transport, protocol)
            assert server.peers == shown, "one more connection"
        await transport.close()


@over_each_protocol
async def test_files_are_looked_at_once_a_second(protocol: Protocol, files: PemFiles) -> None:
    table = files.table(shows=files.other)
    async with serve(protocol, context_for(protocol, files, demands=files.other)) as server:
        transport = secured_transport(protocol, server.port, table)
        await answers(transport, protocol)
        files.client(files.other)
        async with asyncio.timeout(5.0):
            while server.connections == 1:
                await answers(transport, protocol)
                await asyncio.sleep(0.02)
        assert table.cert is not None
        assert server.peers[1] == serial(table.cert)
        await transport.close()


@over_each_protocol
@pytest.mark.usefixtures("looks_always")
async def test_a_refused_certificate_is_cured_by_a_new_one(protocol: Protocol, files: PemFiles) -> None:
    table = files.table(shows=files.other)
    files.pair(files.expired(files.other, "gateway.example"))
    async with serve(protocol, context_for(protocol, files, demands=files.other)) as server:
        transport = secured_transport(protocol, server.port, table)
        await fails(transport, protocol)
        assert server.heads == 0
        files.client(files.other)
        await answers(transport, protocol)
        await transport.close()


@over_each_protocol
@pytest.mark.usefixtures("looks_always")
async def test_a_new_authority_is_trusted_and_the_old_one_no_more(protocol: Protocol, files: PemFiles) -> None:
    theirs = context_for(protocol, files, leaf=files.other.issue_cert("127.0.0.1"))
    async with serve(protocol, theirs) as new, serve(protocol, context_for(protocol, files)) as old:
        table = files.table()
        to_new = secured_transport(protocol, new.port, table)
        to_old = secured_transport(protocol, old.port, table)
        await fails(to_new, protocol)
        await answers(to_old, protocol)
        files.ca(files.other)
        await answers(to_new, protocol)
        heads = old.heads
        await fails(to_old, protocol)
        assert (new.heads, old.heads) == (1, heads)
        await asyncio.gather(to_new.close(), to_old.close())


@over_each_protocol
async def test_a_service_gets_a_new_certificate(protocol: Protocol, files: PemFiles) -> None:
    context = context_for(protocol, files, leaf=files.expired(files.ours, "127.0.0.1"))
    async with serve(protocol, context) as server:
        transport = secured_transport(protocol, server.port, files.table())
        await fails(transport, protocol)
        files.ours.issue_cert("127.0.0.1").configure_cert(context)
        async with asyncio.timeout(5.0):  # a gRPC channel waits between two attempts to connect
            while isinstance(await ask(transport, protocol), Failure):  # noqa: ASYNC110 - over there nothing is told
                await asyncio.sleep(0.02)
        assert server.heads == 1
        await transport.close()


@over_each_protocol
@pytest.mark.usefixtures("looks_always")
@pytest.mark.parametrize("broken", ["half a key", "half a certificate", "another's key", "no key"])
async def test_files_that_cannot_be_used_leave_the_old_in_use(
    protocol: Protocol, files: PemFiles, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = files.table(shows=files.other)
    key, cert = files.folder / "key.pem", files.folder / "cert.pem"
    async with serve(protocol, context_for(protocol, files, demands=files.other)) as server:
        transport = secured_transport(protocol, server.port, table)
        match broken:
            case "half a key":
                key.write_bytes(key.read_bytes()[:100])
            case "half a certificate":
                cert.write_bytes(cert.read_bytes()[:300])
            case "another's key":
                files.write("key.pem", files.other.issue_cert("x.example").private_key_pem.bytes())
            case "no key":
                key.unlink()
        with caplog.at_level(logging.WARNING, logger="gateway.tls"):
            for _ in range(3):
                await answers(transport, protocol)
        (line,) = [record.getMessage() for record in caplog.records if record.name == "gateway.tls"]
        assert "file:" in line
        assert "MI" not in line, "nothing of what is in them"
        assert server.connections == 1
        files.client(files.other)
        await answers(transport, protocol)
        assert server.connections == 2
        await transport.close()


@pytest.mark.usefixtures("looks_always")
async def test_a_grpc_call_under_way_ends_on_its_old_channel(files: PemFiles) -> None:
    (protocol, *_) = OVER_GRPC
    release = asyncio.Event()

    async def first_waits(connection: RawConnection, stream: int) -> None:
        if server.requests == 1:
            await release.wait()
        await good(connection, stream)

    async with RawServer(first_waits, tls=context_for(protocol, files, demands=files.other)) as server:
        transport = secured_transport(protocol, server.port, files.table(shows=files.other))
        first = asyncio.ensure_future(ask(transport, protocol))
        await eventually(lambda: server.requests == 1)
        files.client(files.other)
        await answers(transport, protocol)
        assert (server.connections, first.done()) == (2, False)
        release.set()
        assert isinstance(await first, Answer)
        await transport.close()
