"""An HTTP address of a service: one request out, one bounded and decoded body in. REST and GraphQL stand on it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx

from gateway.address_guard import AddressGuard
from gateway.errors import Delivery, InvalidReplyError
from gateway.network import Network
from gateway.outcome import Failure
from gateway.policy import Connections
from gateway.tls import Tls
from workers.transports.base import Attempt, Usage
from workers.transports.conversion import convert
from workers.transports.decoding import ACCEPT_ENCODING, BodyDecoder, BodyTooLargeError, DecodingError
from workers.transports.http import HttpPool
from workers.transports.http_content import ContentError, content_of, readable
from workers.transports.http_errors import failure_of
from workers.transports.origin import Origin
from workers.transports.statuses import is_answer
from workers.transports.tls import Certificates

__all__ = ["MAX_DETAILS", "HttpEndpoint", "Received"]

_SENT_ALWAYS = {"accept-encoding": ACCEPT_ENCODING, "user-agent": "call-gateway"}
_PUBLIC = Network()
_PORTS = {"http": 80, "https": 443}
#: Bytes of all headers of a reply: they go into the result. One may have 8,190, and there may be 128 (aiohttp).
_MAX_REPLY_HEADERS = 64 * 1024
#: Of an error reply's body, what is kept as the error's `details`.
MAX_DETAILS = 16 * 1024
#: Seconds that the body of an error reply may take: the status is known, and must not be lost to a slow explanation.
_ERROR_BODY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A reply of the service, with any status.

    Attributes:
        status: HTTP status.
        headers: names in lower case, repeated ones joined with `", "`; without `set-cookie`.
        body: decoded. Of a reply that is no answer, as much as could be read.
        complete: whether that is all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool

    @property
    def content_type(self) -> str:
        """The header, empty if there is none."""
        return self.headers.get("content-type", "")

    def details(self) -> Any:
        """The body of an error as plain JSON, at most 16 KiB of it."""
        complete = self.complete and len(self.body) <= MAX_DETAILS
        return readable(self.content_type, self.body[:MAX_DETAILS], complete=complete)

    async def content(self) -> Any:
        """The body of an answer, as data; an `InvalidReplyError` failure if it is not what its type says."""
        try:
            return await convert(len(self.body), content_of, self.content_type, self.body)
        except ContentError as error:
            return self.invalid(str(error))

    def invalid(self, message: str) -> Failure:
        """The failure of a reply that is not what it should be."""
        return _invalid(message, self.status)


class HttpEndpoint:
    """Where a service is asked over HTTP, and the connections to it.

    Args:
        name: for people, `"user-service/rest"`.
        url: the address; its path goes in front of every route.
        connections: how many, and how long an idle one is kept.
        network: which addresses beside public ones the URL's host may stand for.
        tls: of an https address; None: the system's authorities, and no certificate of its own.

    Attributes:
        origin: of the URL.

    Raises:
        ValueError: the URL is not one, or a file of `tls` cannot be used; says the cure.
    """

    def __init__(
        self, name: str, url: str, connections: Connections, network: Network = _PUBLIC, tls: Tls | None = None
    ) -> None:
        address = httpx.URL(url)
        if address.scheme not in ("http", "https") or not address.host:
            raise ValueError(f"{url!r} is not an address; write 'http://host:port/path' or 'https://…'")
        if address.userinfo:
            raise ValueError(f"the URL for {address.host} has credentials in it; set `auth` of the service instead")
        # httpx's interface and, for operators, its usage: a pool of another kind would fit here.
        self._pool = HttpPool(
            name,
            connections,
            guard=AddressGuard(network),
            certificates=Certificates(name, tls) if tls is not None and address.scheme == "https" else None,
        )
        self._url = address
        path, _, query = address.raw_path.partition(b"?")
        self._path = path.rstrip(b"/").decode("ascii")
        self._query = query.decode("ascii")
        self.origin = Origin(address.scheme, address.host.lower(), address.port or _PORTS[address.scheme])

    def target(self, route: str, query: str) -> str:
        """Path and query of a request: the address's own path and query come first.

        Args:
            route: percent-encoded, starts with `/`, or empty for the address itself.
            query: `application/x-www-form-urlencoded`, may be empty.
        """
        asked = "&".join(part for part in (self._query, query) if part)
        path = self._path + route or "/"
        return f"{path}?{asked}" if asked else path

    async def exchange(
        self,
        attempt: Attempt,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: bytes | None,
        *,
        error_bytes: int,
    ) -> Received | Failure:
        """Send one request and read its reply.

        Args:
            attempt: its bounds, its marks, and headers that win over `headers`.
            method, target, headers, content: the request; names of headers in lower case.
            error_bytes: bound of the body of a reply that is no answer; what is over it is left unread.

        Returns:
            A failure if there is no reply, or an answer whose body cannot be had: too large, cut off, not what its
            `content-encoding` says. The body of any other reply never hides its status.
        """
        request = self._request(attempt, method, target, headers, content)
        attempt.wire.body_out += len(content or b"")
        try:
            response = await self._pool.handle_async_request(request)
        except (httpx.TransportError, OSError) as error:
            return failure_of(error, attempt.wire)
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - that is what an async transport returns
        try:
            return await self._receive(response, stream, method, attempt, error_bytes)
        finally:
            await stream.aclose()

    async def close(self) -> None:
        """Close every connection; calls in flight fail."""
        await self._pool.aclose()

    def _request(
        self, attempt: Attempt, method: str, target: str, headers: Mapping[str, str], content: bytes | None
    ) -> httpx.Request:
        timeouts, wire = attempt.timeouts, attempt.wire
        extensions = {
            "timeout": {"connect": timeouts.connect, "pool": timeouts.pool, "read": timeouts.read, "write": None},
            "target": target.encode("ascii"),
            "wire": wire,
        }
        named = {**_SENT_ALWAYS, **headers, **attempt.headers}
        if attempt.sign is not None:
            named.update(attempt.sign(content or b""))
        raw = [(name.encode(), value.encode()) for name, value in named.items()]
        return httpx.Request(method, self._url, headers=raw, content=content, extensions=extensions)

    async def _receive(
        self, response: httpx.Response, stream: httpx.AsyncByteStream, method: str, attempt: Attempt, error_bytes: int
    ) -> Received | Failure:
        status, headers = response.status_code, _joined(response.headers.raw)
        if sum(len(name) + len(value) for name, value in response.headers.raw) > _MAX_REPLY_HEADERS:
            return _invalid(f"the headers of the reply have more than {_MAX_REPLY_HEADERS} bytes", status)
        if method == "HEAD" or status in (204, 304) or status < 200:
            return Received(status=status, headers=headers, body=b"", complete=True)
        if is_answer(status):
            return await self._receive_answer(response, stream, headers, attempt)
        return await self._receive_error(response, stream, headers, attempt, error_bytes)

    async def _receive_answer(
        self, response: httpx.Response, stream: httpx.AsyncByteStream, headers: Mapping[str, str], attempt: Attempt
    ) -> Received | Failure:
        status, bound = response.status_code, attempt.max_reply_bytes
        coding = headers.get("content-encoding", "")
        announced = headers.get("content-length", "")
        if not coding and announced.isdecimal() and int(announced) > bound:
            return _too_large(f"the service announced {announced} bytes", bound, status)
        try:
            decoder = BodyDecoder(coding, bound)
            async for data in stream:
                attempt.wire.body_in += len(data)
                decoder.feed(data)
            body = decoder.finish()
        except BodyTooLargeError as error:
            return _too_large(str(error), bound, status)
        except DecodingError as error:
            return _invalid(str(error), status)
        except (httpx.TransportError, OSError) as error:
            return failure_of(error, attempt.wire, status=status)
        return Received(status=status, headers=headers, body=body, complete=True)

    async def _receive_error(
        self,
        response: httpx.Response,
        stream: httpx.AsyncByteStream,
        headers: Mapping[str, str],
        attempt: Attempt,
        bound: int,
    ) -> Received:
        left_s = attempt.wire.started + attempt.budget_s - monotonic()
        body, complete = b"", False
        try:
            decoder = BodyDecoder(headers.get("content-encoding", ""), bound)
        except DecodingError:
            return Received(status=response.status_code, headers=headers, body=body, complete=complete)
        try:
            async with asyncio.timeout(min(_ERROR_BODY_S, max(0.0, left_s / 2))):
                async for data in stream:
                    attempt.wire.body_in += len(data)
                    decoder.feed(data)
            body, complete = decoder.finish(), True
        except (DecodingError, httpx.TransportError, OSError):
            body = decoder.so_far()  # TimeoutError is an OSError
        return Received(status=response.status_code, headers=headers, body=body, complete=complete)

    @property
    def usage(self) -> Usage:
        """See `Transport.usage`."""
        return self._pool.usage

    def __repr__(self) -> str:
        return repr(self._pool)


def _joined(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Reply headers by lower-case name (RFC 9110, section 5.3)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1").lower()
        if name == "set-cookie":  # cookies are off, and their values do not belong in a result
            continue
        try:
            value = raw_value.decode("utf-8")
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _invalid(message: str, status: int) -> Failure:
    return Failure(error=InvalidReplyError, message=message, delivery=Delivery.ANSWERED, status=status)


def _too_large(message: str, bound: int, status: int) -> Failure:
    return _invalid(f"{message}; reply.max_bytes is {bound}, raise it if such a reply is meant", status)
