"""Redirects: off by default; those that are followed stay on the service's origin, whatever they say."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.call import RestCall
from gateway.errors import Delivery, InvalidReplyError, ServiceRejectedError, ServiceUnavailableError
from gateway.outcome import Failure
from gateway.policy import Policy
from gateway.service import RestEndpoint, Service
from tests.conformance.contract import attempt_of
from workers.transports.base import Answer
from workers.transports.origin import Origin, RedirectError
from workers.transports.rest import RestTransport

HERE = Origin("http", "users.example", 8000)


class Server:
    """Answers each path as its table says: a status and a location, or 200.

    Attributes:
        arrived: request lines with the service key.
    """

    def __init__(self) -> None:
        self.table: dict[str, tuple[int, str]] = {}
        self.arrived: list[str] = []

    async def start(self) -> "Server":
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target, _ = head.split("\r\n")[0].split(" ")
                self.arrived.append(f"{method} {target}{' +key' if 'x-service-auth: k' in head else ''}")
                status, location = self.table.get(target, (200, ""))
                headers = ["Content-Type: application/json", "Content-Length: 2"]
                headers += [f"Location: {location}"] if location else []
                body = "" if method == "HEAD" else "{}"
                writer.write("\r\n".join([f"HTTP/1.1 {status} X", *headers, "", body]).encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()


@pytest.fixture
async def servers() -> AsyncIterator[tuple[Server, Server]]:
    here, there = await Server().start(), await Server().start()
    yield here, there
    await here.close()
    await there.close()


async def send(here: Server, *, redirects: int = 3, method: str = "GET", **call: Any) -> Answer | Failure:
    endpoint = RestEndpoint(url=f"http://127.0.0.1:{here.port}", redirects=redirects)
    transport = RestTransport(Service(name="users", policy=Policy(), rest=endpoint))
    try:
        return await transport.send(
            attempt_of(RestCall("users", method, "/start", **call), headers={"x-service-auth": "k"})
        )
    finally:
        await transport.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_one_to_the_same_origin_is_followed(status: int, method: str, servers: tuple[Server, Server]) -> None:
    here, _ = servers
    for location in (
        "/end?a=1",
        f"http://127.0.0.1:{here.port}/end?a=1",
        f"//127.0.0.1:{here.port}/end?a=1#x",
        "end?a=1",
    ):
        here.arrived.clear()
        here.table["/start"] = (status, location)
        answer = await send(here, method=method)
        assert isinstance(answer, Answer), answer
        assert here.arrived == [f"{method} /start +key", f"{method} /end?a=1 +key"]


async def test_it_is_off_by_default(servers: tuple[Server, Server]) -> None:
    here, _ = servers
    here.table["/start"] = (302, "/end")
    failure = await send(here, redirects=RestEndpoint(url="http://x").redirects)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.delivery, failure.status) == (ServiceRejectedError, Delivery.ANSWERED, 302)
    assert "rest.redirects" in failure.message
    assert here.arrived == ["GET /start +key"]


ELSEWHERE: list[Callable[[int, int], str]] = [
    lambda here, there: f"http://127.0.0.1:{there}/",
    lambda here, there: f"//127.0.0.1:{there}/",
    lambda here, there: f"http://localhost:{here}/end",
    lambda here, there: f"https://127.0.0.1:{here}/end",
    lambda here, there: f"http://127.0.0.1:{here}@127.0.0.1:{there}/",
    lambda here, there: f"http://user:pass@127.0.0.1:{here}/end",
    lambda here, there: f"http://127.0.0.1:{here}\\@127.0.0.1:{there}/",
    lambda here, there: f"/\\127.0.0.1:{there}/",
    lambda here, there: f"\\\\127.0.0.1:{there}/",
    lambda here, there: f"http:\\\\127.0.0.1:{there}/",
    lambda here, there: f"http://127.0.0.1:{here}.evil.example/",
    lambda here, there: f"http://[::ffff:127.0.0.1]:{there}/",
    lambda here, there: f"http://2130706433:{there}/",
    lambda here, there: f"http://127.0.0.1:{there}#@127.0.0.1:{here}/",
    lambda here, there: f"http://127.0.0.1:{there}?@127.0.0.1:{here}/",
    lambda here, there: "file:///etc/passwd",
    lambda here, there: "gopher://127.0.0.1/",
    lambda here, there: "javascript:alert(1)",
    lambda here, there: "http://169.254.169.254/latest/meta-data/",
    lambda here, there: "http://[fd00:ec2::254]/",
    lambda here, there: "http://[::1",
    lambda here, there: "http://127.0.0.1:99999/",
    lambda here, there: "/end /x",
    lambda here, there: "/\tend",
    lambda here, there: "/ünd",
    lambda here, there: "",
]


@pytest.mark.parametrize("location", ELSEWHERE)
async def test_one_to_elsewhere_ends_the_call(
    location: Callable[[int, int], str], servers: tuple[Server, Server]
) -> None:
    here, there = servers
    here.table["/start"] = (302, location(here.port, there.port))
    failure = await send(here)
    assert isinstance(failure, Failure)
    assert failure.error in (ServiceRejectedError, InvalidReplyError)
    assert failure.delivery is Delivery.ANSWERED
    assert here.arrived == ["GET /start +key"]
    assert there.arrived == []


async def test_a_loop_is_bounded(servers: tuple[Server, Server]) -> None:
    here, _ = servers
    here.table["/start"] = (302, "/start")
    failure = await send(here, redirects=3)
    assert isinstance(failure, Failure)
    assert "more than 3" in failure.message
    assert len(here.arrived) == 4


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("status", [302, 307, 308])
async def test_what_may_act_is_not_sent_again(method: str, status: int, servers: tuple[Server, Server]) -> None:
    here, _ = servers
    here.table["/start"] = (status, "/end")
    assert isinstance(await send(here, method=method), Failure)
    assert len(here.arrived) == 1


async def test_a_body_is_not_sent_again(servers: tuple[Server, Server]) -> None:
    here, _ = servers
    here.table["/start"] = (307, "/end")
    failure = await send(here, json={"a": 1})
    assert isinstance(failure, Failure)
    assert "only a GET or HEAD without a body" in failure.message


async def test_a_service_that_goes_away_between_them_may_have_been_asked(servers: tuple[Server, Server]) -> None:
    here, _ = servers

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 X\r\nLocation: /end\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        server.close()
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    here.port = server.sockets[0].getsockname()[1]
    failure = await send(here)
    assert isinstance(failure, Failure)
    assert (failure.error, failure.delivery) == (ServiceUnavailableError, Delivery.MAYBE_SENT)


@given(st.text())
def test_whatever_a_location_says_the_target_is_a_path(location: str) -> None:
    try:
        target = HERE.target_of(location, "/a/b?c=d")
    except RedirectError:
        return
    assert target.startswith("/")
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/x", "/x"),
        ("x?y=z", "/a/x?y=z"),
        ("?y", "/a/b?y"),
        ("../../../x", "/x"),
        ("http://USERS.example:8000", "/"),
        ("http://users.example:8000?q", "/?q"),
    ],
)
def test_where_a_location_leads(location: str, target: str) -> None:
    assert HERE.target_of(location, "/a/b?c=d") == target


def test_a_default_port_is_the_same_origin() -> None:
    assert Origin("https", "users.example", 443).target_of("https://users.example/x", "/") == "/x"
    with pytest.raises(RedirectError, match="another origin"):
        Origin("https", "users.example", 443).target_of("http://users.example:443/x", "/")
