"""What a URL of Sentinels says, and what Celery and kombu get of it."""

from typing import Any

import pytest
from kombu import Connection

from gateway.redis_address import AddressError, RedisAddress

LIST = (
    "sentinel://me:p%40%3Bw@h1:26380/2?master_name=the%20one"
    ";sentinel://[::1]?sentinel_username=u&sentinel_password=s"
    ";sentinel://h3:26381?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=/ca.pem"
)


def test_what_is_written_at_any_of_them_holds_for_all() -> None:
    address = RedisAddress.parse(LIST)
    assert address.sentinels == (("h1", 26380), ("::1", 26379), ("h3", 26381))
    assert address.master_name == "the one"
    assert address.server == {"db": 2, "username": "me", "password": "p@;w"}
    tls = {"ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}
    assert address.ssl == tls
    options = {"username": "u", "password": "s", "ssl": True, **tls}
    assert {name: address.sentinel_options[name] for name in options} == options
    assert address.transport_options["master_name"] == "the one"
    assert "p@;w" not in repr(address)


def test_kombu_reads_what_it_gets() -> None:
    url = RedisAddress.parse(LIST).url
    assert url.count(";") == 2
    with Connection(url) as connection:
        assert (connection.hostname, connection.port, connection.virtual_host) == ("h1", 26380, "2")
        assert (connection.userid, connection.password) == ("me", "p@;w")
        assert len(connection.alt) == 3
        # It goes on with the next one of the list.
        connection.maybe_switch_next()
        said: Any = connection
        assert (said.hostname, said.port, said.virtual_host, said.password) == ("::1", 26379, "2", "p@;w")


@pytest.mark.parametrize(
    "url",
    ["redis://:p@h:1/0", "rediss://h/1?ssl_cert_reqs=none", "redis+socket:///s?virtual_host=1", "redis://a;redis://b"],
)
def test_other_urls_stay_as_they_are(url: str) -> None:
    address = RedisAddress.parse(url)
    assert (address.url, address.sentinels, address.transport_options, address.ssl) == (url, (), {}, {})


def test_sentinels_and_servers_are_not_mixed() -> None:
    with pytest.raises(AddressError, match="list Sentinels alone"):
        RedisAddress.parse("sentinel://h?master_name=m;redis://h")
