"""Broker and results over TLS: who may be trusted is checked on every way to them."""

import shutil
from collections.abc import Iterator

import pytest
from kombu.exceptions import OperationalError

from gateway import CallState, Catalogue, Gateway, RestCall, Settings
from gateway.checks import Finding, Level, check_worker
from gateway.errors import GatewayUnavailableError
from gateway.redis_client import ERRORS, open_async, open_sync
from gateway.waiter import Waiter
from tests.servers.tls_redis import TlsRedis

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server with TLS on PATH")
CATALOGUE = Catalogue.parse({"services": {"users": {"rest": {"url": "http://users"}}}})
CALL = RestCall("users", "GET", "/")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    made = TlsRedis(tmp_path_factory.mktemp("tls"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    """One that asks clients for a certificate."""
    made = TlsRedis(tmp_path_factory.mktemp("strict"), asks_for_certificate=True)
    yield made
    made.stop()


def settings_of(url: str) -> Settings:
    return Settings.from_env({"GATEWAY_BROKER_URL": url})


def findings(url: str) -> list[Finding]:
    return check_worker(settings_of(url), CATALOGUE, {}, patience_s=0)


def test_calls_go_over_tls(server: TlsRedis) -> None:
    settings = settings_of(server.url(ssl_ca_certs=str(server.authority)))
    with Gateway(settings) as gateway:
        pending = gateway.submit(CALL)
        assert pending.state is CallState.PENDING
        with open_sync(settings.result_url) as client:
            assert client.llen("gateway") == 1
    assert [finding.level for finding in findings(settings.broker_url)] == [Level.OK]


async def test_an_asyncio_client_over_tls(server: TlsRedis) -> None:
    async with open_async(server.url(ssl_ca_certs=str(server.authority))) as client:
        assert await client.ping()


def test_who_waits_over_tls(server: TlsRedis) -> None:
    url = server.url(ssl_ca_certs=str(server.authority))
    waiter = Waiter(url, lambda call_id: f"result-{call_id}", is_final=lambda payload: True)
    try:
        with open_sync(url) as client:
            client.set("result-a", "of a")
        assert waiter.watch("a").result(5) == b"of a"
    finally:
        waiter.close()


@pytest.mark.parametrize("spelling", [{}, {"ssl_cert_reqs": "required"}, {"ssl_cert_reqs": "CERT_REQUIRED"}])
def test_a_server_that_nobody_vouches_for_is_refused_everywhere(server: TlsRedis, spelling: dict[str, str]) -> None:
    url = server.url(**spelling)
    with open_sync(url) as client, pytest.raises(ERRORS, match="(?i)certificate"):
        client.ping()
    settings = settings_of(url)
    with Gateway(settings) as gateway:
        with pytest.raises(GatewayUnavailableError, match="(?i)certificate"):
            gateway.submit(CALL)
        # Kombu by itself does not look at certificates unless the URL says so.
        with gateway.celery.connection_for_write() as connection, pytest.raises((OperationalError, *ERRORS)):
            connection.ensure_connection(max_retries=1, interval_start=0)
    (finding,) = findings(url)
    assert finding.level is Level.ERROR
    assert "certificate" in finding.found.lower()
    assert "set ssl_ca_certs in GATEWAY_BROKER_URL" in finding.cure


def test_a_server_may_be_trusted_blindly_by_those_who_say_so(server: TlsRedis) -> None:
    with open_sync(server.url(ssl_cert_reqs="none")) as client:
        assert client.ping()


def test_a_server_asks_for_a_certificate(strict: TlsRedis) -> None:
    known = {"ssl_ca_certs": str(strict.authority)}
    own = {"ssl_certfile": str(strict.client), "ssl_keyfile": str(strict.client)}
    with open_sync(strict.url(**known, **own)) as client:
        assert client.ping()
    with open_sync(strict.url(**known)) as client, pytest.raises(ERRORS):
        client.ping()
    assert [finding.level for finding in findings(strict.url(**known, **own))] == [Level.OK]
    assert [finding.level for finding in findings(strict.url(**known))] == [Level.ERROR]


def test_a_plain_url_to_a_tls_port(server: TlsRedis) -> None:
    (finding,) = findings(server.url().replace("rediss:", "redis:"))
    assert finding.level is Level.ERROR
    assert "start it, or correct" in finding.cure
