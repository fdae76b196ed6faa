"""Who is verified, and how a refusal ends, over each protocol and on real TLS connections."""

import ssl
from pathlib import Path

import pytest

from gateway.errors import Delivery, ServiceUnavailableError
from gateway.outcome import Failure
from gateway.tls import Tls
from tests.conformance.contract import attempt_of, send_within
from tests.conformance.protocols import Protocol
from tests.conformance.secured import ONE_OF_EACH, Server, context_for, secured_transport, serve
from tests.servers.alerting import AlertingServer
from tests.servers.authority import PemFiles
from workers.transports.base import Answer

NOT_SENT, MAYBE_SENT = Delivery.NOT_SENT, Delivery.MAYBE_SENT
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]

pytestmark = pytest.mark.parametrize("protocol", ONE_OF_EACH, ids=str)
over_both_versions = pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])


@pytest.fixture
def files(tmp_path: Path) -> PemFiles:
    return PemFiles(tmp_path)


async def ask(
    protocol: Protocol, context: ssl.SSLContext, tls: Tls | None, host: str = "127.0.0.1"
) -> tuple[Answer | Failure, Server]:
    """One call to a server of its own."""
    async with serve(protocol, context) as server:
        transport = secured_transport(protocol, server.port, tls, host)
        try:
            return await send_within(transport, attempt_of(protocol.call, {"connect": 2.0})), server
        finally:
            await transport.close()


def refused(outcome: Answer | Failure, server: Server, delivery: Delivery = NOT_SENT) -> Failure:
    """The handshake failed, and no request arrived."""
    assert isinstance(outcome, Failure), outcome
    assert (outcome.error, outcome.delivery) == (ServiceUnavailableError, delivery), outcome
    assert server.heads == 0
    outcome.to_error(service="faults", operation="op")
    return outcome


def answered(outcome: Answer | Failure, protocol: Protocol) -> None:
    assert isinstance(outcome, Answer), outcome
    assert outcome.data == protocol.data


@over_both_versions
async def test_an_authority_and_a_certificate_of_our_own(
    protocol: Protocol, files: PemFiles, version: ssl.TLSVersion
) -> None:
    context = context_for(protocol, files, demands=files.other, version=version)
    outcome, server = await ask(protocol, context, files.table(shows=files.other))
    answered(outcome, protocol)
    assert [peer for peer in server.peers if peer] == server.peers


@over_both_versions
@pytest.mark.parametrize("shows", ["nothing", "another authority's"])
async def test_a_client_certificate_that_is_refused(
    protocol: Protocol, files: PemFiles, version: ssl.TLSVersion, shows: str
) -> None:
    context = context_for(protocol, files, demands=files.other, version=version)
    tls = files.table(shows=None if shows == "nothing" else files.ours)
    outcome, server = await ask(protocol, context, tls)
    # Under TLS 1.3 the client is done before the server has looked at its certificate (RFC 8446, section 2), and HTTP
    # writes at once. A gRPC channel is ready when the server has greeted, which is after that.
    late = version is ssl.TLSVersion.TLSv1_3 and protocol.family != "grpc"
    refused(outcome, server, MAYBE_SENT if late else NOT_SENT)


@over_both_versions
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "after the request"])
async def test_a_refusal_that_the_service_explains(
    protocol: Protocol, files: PemFiles, version: ssl.TLSVersion, at_once: bool
) -> None:
    context = context_for(protocol, files, demands=files.other, version=version)
    async with AlertingServer(context, at_once=at_once) as server:
        transport = secured_transport(protocol, server.port, files.table())
        attempt = attempt_of(protocol.call, {"connect": 2.0})
        outcome = await send_within(transport, attempt)
        await transport.close()
    assert isinstance(outcome, Failure), outcome
    assert outcome.error is ServiceUnavailableError
    assert outcome.delivery is (NOT_SENT if attempt.wire.sent is None else MAYBE_SENT)
    if version is ssl.TLSVersion.TLSv1_2 or protocol.family == "grpc":
        assert outcome.delivery is NOT_SENT
    elif not at_once:
        assert outcome.delivery is MAYBE_SENT
    assert server.alerts >= 1
    assert server.read == 0
    if protocol.family != "grpc":
        assert "alert" in outcome.message.lower(), outcome
        assert outcome.message.startswith("TLS: "), outcome


async def test_an_expired_client_certificate(protocol: Protocol, files: PemFiles) -> None:
    tls = files.table(shows=files.other)
    files.pair(files.expired(files.other, "gateway.example"))
    context = context_for(protocol, files, demands=files.other, version=ssl.TLSVersion.TLSv1_2)
    refused(*await ask(protocol, context, tls))


@over_both_versions
async def test_an_unknown_authority(protocol: Protocol, files: PemFiles, version: ssl.TLSVersion) -> None:
    leaf = files.other.issue_cert("localhost", "127.0.0.1")
    context = context_for(protocol, files, leaf=leaf, version=version)
    refused(*await ask(protocol, context, files.table()))
    refused(*await ask(protocol, context, None))  # nor one of the system's


async def test_a_certificate_of_another_name(protocol: Protocol, files: PemFiles) -> None:
    context = context_for(protocol, files, leaf=files.ours.issue_cert("other.example"))
    refused(*await ask(protocol, context, files.table()))
    refused(*await ask(protocol, context, files.table(), "localhost"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_server_name_is_asked_for_and_verified(protocol: Protocol, files: PemFiles, host: str) -> None:
    asked: list[str | None] = []
    context = context_for(protocol, files, leaf=files.ours.issue_cert("users.internal"))
    context.sni_callback = lambda _, name, __: asked.append(name)
    outcome, _ = await ask(protocol, context, files.table(server_name="users.internal"), host)
    answered(outcome, protocol)
    assert set(asked) == {"users.internal"}
    refused(*await ask(protocol, context, files.table(server_name="orders.internal"), host))
    # The address's own name counts no more.
    usual = context_for(protocol, files)
    refused(*await ask(protocol, usual, files.table(server_name="users.internal"), host))


async def test_an_expired_certificate_of_the_service(protocol: Protocol, files: PemFiles) -> None:
    context = context_for(protocol, files, leaf=files.expired(files.ours, "127.0.0.1"))
    refused(*await ask(protocol, context, files.table()))


async def test_the_lowest_version(protocol: Protocol, files: PemFiles) -> None:
    if protocol.family == "grpc":
        pytest.skip("the catalogue refuses it")
    old = context_for(protocol, files, version=ssl.TLSVersion.TLSv1_2)
    refused(*await ask(protocol, old, files.table(min_version="1.3")))
    answered((await ask(protocol, old, files.table()))[0], protocol)
    new = context_for(protocol, files, version=ssl.TLSVersion.TLSv1_3)
    answered((await ask(protocol, new, files.table(min_version="1.3")))[0], protocol)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
async def test_versions_that_nobody_should_speak(protocol: Protocol, files: PemFiles) -> None:
    context = context_for(protocol, files, version=ssl.TLSVersion.TLSv1_1)
    context.set_ciphers("ALL:@SECLEVEL=0")
    refused(*await ask(protocol, context, files.table()))


async def test_the_systems_authorities(protocol: Protocol, files: PemFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", files.ca(files.ours).removeprefix("file:"))
    monkeypatch.setenv("SSL_CERT_DIR", str(files.folder / "none"))
    outcome, _ = await ask(protocol, context_for(protocol, files), Tls())
    answered(outcome, protocol)
