"""The ASGI middleware before a real uvicorn."""

import json
from collections.abc import Callable, MutableMapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from gateway.server import ServiceAuthMiddleware, ServiceKeys

Served = Callable[[Any], AbstractAsyncContextManager[str]]

REFUSAL = b'{"success": false, "error": {"code": "INVALID_SERVICE_AUTH", "message": "Invalid authentication"}}'


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers every request with the names and values of the headers that it saw."""
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        scope["state"]["started"] = True
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})
        return
    seen = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    body = json.dumps({"headers": seen, "started": scope["state"].get("started")}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def guarded(**more: Any) -> ServiceAuthMiddleware:
    return ServiceAuthMiddleware(app, ["old-key", "new-key"], **more)


@pytest.mark.parametrize("key", ["old-key", "new-key"])
async def test_each_key_of_a_rotation_comes_through_and_the_app_does_not_see_it(served: Served, key: str) -> None:
    async with served(guarded()) as url, httpx.AsyncClient() as client:
        answer = await client.get(url, headers={"X-Service-Auth": key, "x-other": "1"})
    assert answer.status_code == 200
    seen = answer.json()["headers"]
    assert seen["x-other"] == "1"
    assert "x-service-auth" not in seen
    assert key not in answer.text


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b"third-key"],
        [b""],
        [b"old-ke"],
        [b"old-key1"],
        [b"OLD-KEY"],
        [b"old-key,new-key"],
        [b"old-key", b"old-key"],
        [b"old-key", b"wrong"],
        [b"wrong", b"old-key"],
        [b"\xff\xfe\xe9"],
        ["clé".encode()],
    ],
)
async def test_everything_else_is_refused_with_the_same_answer(served: Served, values: list[bytes]) -> None:
    async with served(guarded()) as url, httpx.AsyncClient() as client:
        answer = await client.post(url, headers=[(b"x-service-auth", value) for value in values], content=b"{}")
    assert answer.status_code == 403
    assert answer.content == REFUSAL
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(REFUSAL))


async def test_exempt_paths_are_compared_as_a_whole(served: Served) -> None:
    async with served(guarded(exempt=("/ready",))) as url, httpx.AsyncClient() as client:
        statuses = {
            path: (await client.get(url + path)).status_code
            for path in ("/ready", "/ready?x=1", "/ready/", "//ready", "/ready/users", "/healthz")
        }
    assert statuses == {
        "/ready": 200,
        "/ready?x=1": 200,
        "/ready/": 403,
        "//ready": 403,
        "/ready/users": 403,
        "/healthz": 403,
    }


async def test_health_needs_no_key_by_default(served: Served) -> None:
    async with served(guarded()) as url, httpx.AsyncClient() as client:
        assert (await client.get(f"{url}/healthz")).status_code == 200


async def test_the_header_can_have_another_name(served: Served) -> None:
    async with served(guarded(header="X-Internal-Key")) as url, httpx.AsyncClient() as client:
        right = await client.get(url, headers={"x-internal-key": "new-key"})
        wrong = await client.get(url, headers={"x-service-auth": "new-key"})
    assert (right.status_code, wrong.status_code) == (200, 403)


async def test_lifespan_reaches_the_app(served: Served) -> None:
    async with served(guarded()) as url, httpx.AsyncClient() as client:
        answer = await client.get(url, headers={"x-service-auth": "new-key"})
    assert answer.json()["started"] is True


async def test_a_refused_upload_does_not_spoil_the_connection(served: Served) -> None:
    async with served(guarded()) as url, httpx.AsyncClient(limits=httpx.Limits(max_connections=1)) as client:
        refused = await client.post(url, content=b"x" * 1_000_000)
        served_next = await client.get(url, headers={"x-service-auth": "new-key"})
    assert refused.content == REFUSAL
    assert served_next.status_code == 200


class Peer:
    """The server's side of one WebSocket that is opened."""

    def __init__(self) -> None:
        self.sent: list[MutableMapping[str, Any]] = []

    async def receive(self) -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)


async def open_websocket(headers: list[tuple[bytes, bytes]], extensions: dict[str, Any] | None) -> Peer:
    async def accept(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})

    peer = Peer()
    scope = {"type": "websocket", "path": "/updates", "headers": headers, "extensions": extensions}
    await ServiceAuthMiddleware(accept, ServiceKeys(["key"]))(scope, peer.receive, peer.send)
    return peer


async def test_a_websocket_with_a_key_is_accepted() -> None:
    peer = await open_websocket([(b"x-service-auth", b"key")], None)
    assert peer.sent == [{"type": "websocket.accept"}]


async def test_a_websocket_without_a_key_is_closed_before_it_is_accepted() -> None:
    peer = await open_websocket([(b"x-service-auth", b"kez")], None)
    assert peer.sent == [{"type": "websocket.close", "code": 1008}]


async def test_a_websocket_without_a_key_gets_the_answer_where_the_server_can_send_one() -> None:
    peer = await open_websocket([], {"websocket.http.response": {}})
    start, body = peer.sent
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 403)
    assert (body["type"], body["body"]) == ("websocket.http.response.body", REFUSAL)


async def test_an_unknown_kind_of_connection_does_not_come_in() -> None:
    peer = Peer()
    with pytest.raises(ValueError, match="does not know the scope 'webtransport'"):
        await guarded()({"type": "webtransport", "path": "/", "headers": []}, peer.receive, peer.send)
    assert peer.sent == []


def test_it_is_not_built_without_keys_or_with_one_string_of_paths() -> None:
    with pytest.raises(ValueError, match="there is no service key"):
        ServiceAuthMiddleware(app, [])
    with pytest.raises(TypeError, match="exempt is one string"):
        ServiceAuthMiddleware(app, ["key"], exempt="/healthz")


def test_its_repr_shows_no_key() -> None:
    assert repr(guarded()) == "<ServiceAuthMiddleware x-service-auth <ServiceKeys 2 keys>>"
