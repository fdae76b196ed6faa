"""What `gateway doctor` says of a worker's port."""

import socket
from collections.abc import Iterator

import pytest

from gateway.checks.finding import Level
from gateway.checks.ports import check_ports


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def findings(address: str) -> list[tuple[Level, str]]:
    return [
        (finding.level, f"{finding.what}: {finding.found}")
        for finding in check_ports({"GATEWAY_WORKER_ADDRESS": address, "FLOWER_PORT": "1"})
        if "Flower" not in finding.found
    ]


@pytest.mark.parametrize("address", ["", "off", "127.0.0.1:0"])
def test_where_any_port_will_do(address: str) -> None:
    assert findings(address) == []


def test_one_that_is_free(taken: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert findings(f"127.0.0.1:{port}") == [(Level.OK, f"port {port}: is free for a worker")]


def test_one_that_is_taken(taken: int) -> None:
    (found,) = findings(f"127.0.0.1:{taken}")
    assert found == (Level.ERROR, f"port {taken}: is taken, and not by a worker, which would not start")


def test_what_is_no_address_of_this_host() -> None:
    (found,) = findings("localhost.invalid:9808")
    assert found[0] is Level.ERROR
    assert "GATEWAY_METRICS_TOKEN" in found[1]
