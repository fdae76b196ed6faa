"""ASGI middleware that lets only callers with a service key through; for Starlette, FastAPI, Django and any other."""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from gateway.server.keys import ServiceKeys

__all__ = ["ServiceAuthMiddleware"]

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Says nothing about the reason: a missing and a wrong key look the same.
_BODY = json.dumps(
    {"success": False, "error": {"code": "INVALID_SERVICE_AUTH", "message": "Invalid authentication"}}
).encode()
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_BODY)).encode()),
    (b"cache-control", b"no-store"),
]

#: WebSocket close code "policy violation" (RFC 6455, section 7.4.1).
_POLICY_VIOLATION = 1008


class ServiceAuthMiddleware:
    """Answers 403 unless the request has exactly one key header, with an accepted key in it.

    The header is taken out of the request, so that the app behind, its logs and its error reports never see a key.
    A WebSocket is denied with the same answer where the server can (ASGI extension `websocket.http.response`), else
    closed before it is accepted, which servers turn into a 403.

    Args:
        app: the ASGI application behind.
        keys: the keys, or what `ServiceKeys` takes.
        header: name of the header, in any case.
        exempt: paths that need no key, compared as a whole.

    Raises:
        ServiceKeysError: there is no usable key.
    """

    def __init__(
        self,
        app: App,
        keys: ServiceKeys | Iterable[str | bytes],
        header: str = "x-service-auth",
        exempt: Iterable[str] = ("/healthz", "/livez", "/readyz"),
    ) -> None:
        if isinstance(exempt, str):
            raise TypeError("exempt is one string, whose every character would be a path; pass (path,)")
        self._app = app
        self._keys = keys if isinstance(keys, ServiceKeys) else ServiceKeys(keys)
        self._header = header.lower().encode("ascii")
        self._exempt = frozenset(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection (ASGI 3)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            # A kind of connection that did not exist when this was written must not come in without a key.
            raise ValueError(f"ServiceAuthMiddleware does not know the scope {scope['type']!r}")
        given: list[bytes] = []
        others: list[tuple[bytes, bytes]] = []
        for name, value in scope["headers"]:
            if name.lower() == self._header:
                given.append(value)
            else:
                others.append((name, value))
        # Two key headers are refused even if both are right: servers and proxies differ in which one they look at.
        if scope["path"] in self._exempt or (len(given) == 1 and self._keys.accept(given[0])):
            await self._app({**scope, "headers": others}, receive, send)
        elif scope["type"] == "http":
            await _deny("http", send)
        else:
            await receive()  # websocket.connect, which comes before anything may be sent
            if "websocket.http.response" in (scope.get("extensions") or {}):
                await _deny("websocket.http", send)
            else:
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    def __repr__(self) -> str:
        return f"<ServiceAuthMiddleware {self._header.decode()} {self._keys!r}>"


async def _deny(kind: str, send: Send) -> None:
    await send({"type": f"{kind}.response.start", "status": 403, "headers": list(_HEADERS)})
    await send({"type": f"{kind}.response.body", "body": _BODY})
