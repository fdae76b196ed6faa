"""What can go wrong on an HTTP connection, by name: aiohttp's errors as httpx's, and httpx's as failures."""

import os
import socket
import ssl

import aiohttp
import httpx
from aiohttp.http_exceptions import HttpProcessingError

from gateway.address_guard import ForbiddenAddressError
from gateway.errors import (
    CallRejectedError,
    Delivery,
    GatewayFaultError,
    InvalidReplyError,
    ServiceError,
    ServiceTimeoutError,
    ServiceUnavailableError,
)
from gateway.outcome import Failure
from workers.transports.base import Wire

__all__ = ["ForbiddenHostError", "connect_error", "exchange_error", "failure_of"]


class ForbiddenHostError(httpx.ConnectError):
    """The host's addresses are ones that this service may not be at."""


def connect_error(error: Exception) -> httpx.TransportError:
    """The httpx error of a connection that was not made; nothing was sent."""
    match error:
        case ForbiddenAddressError():
            return ForbiddenHostError(str(error))
        # aiohttp raises TimeoutError without an errno for its own timer only; the kernel's ETIMEDOUT is wrapped.
        case TimeoutError():
            return httpx.ConnectTimeout("no connection within timeouts.connect")
        case aiohttp.ClientConnectorDNSError():
            return httpx.ConnectError(f"no address for {error.host}: {_reason(error.os_error)}")
        case aiohttp.ClientConnectorCertificateError():
            return httpx.ConnectError(f"TLS: {_reason(error.certificate_error)}")
        case aiohttp.ClientConnectorSSLError():
            return httpx.ConnectError(f"TLS: {_reason(error.os_error)}")
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(f"cannot connect to {error.host}:{error.port}: {_reason(error.os_error)}")
        case _:
            return httpx.ConnectError(f"cannot connect: {_reason(error)}")


def exchange_error(error: Exception, *, in_body: bool = False) -> httpx.TransportError:
    """The httpx error of a connection that failed while a request was written or its answer awaited or read.

    Args:
        error: as aiohttp raised it.
        in_body: the head of the answer was complete.
    """
    tls = _tls_error(error)
    if tls is not None and not in_body:
        # Under TLS 1.3 a service refuses our certificate when we may have written to it already.
        return httpx.ReadError(f"TLS: {_reason(tls)}")
    match error:
        case aiohttp.SocketTimeoutError():
            return httpx.ReadTimeout("silence for longer than timeouts.read")
        case aiohttp.ClientPayloadError() | HttpProcessingError() if in_body:
            return httpx.RemoteProtocolError("the body ended early or is framed wrongly")
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return httpx.RemoteProtocolError(f"not an HTTP response: {_first_line(error.message)}")
        case aiohttp.ServerDisconnectedError():
            # aiohttp puts the head as far as it came in place of the text.
            if not isinstance(error.message, str):
                return httpx.RemoteProtocolError("the connection ended within the head of the answer")
            return httpx.ReadError("the service closed the connection without an answer")
        case _ if in_body:
            return httpx.RemoteProtocolError(f"the connection was lost within the body: {_reason(error)}")
        case OSError() | aiohttp.ClientConnectionError() | RuntimeError():
            return httpx.ReadError(f"the connection was lost: {_reason(error)}")
        case _:
            return httpx.RemoteProtocolError(f"not an HTTP response: {_reason(error)}")


#: The first row that fits counts. The phase is that of a timeout.
_FAILURES: tuple[tuple[type[Exception], type[ServiceError], str | None], ...] = (
    (ForbiddenHostError, CallRejectedError, None),
    (httpx.PoolTimeout, ServiceTimeoutError, "pool"),
    (httpx.ConnectTimeout, ServiceTimeoutError, "connect"),
    (httpx.ReadTimeout, ServiceTimeoutError, "read"),
    (httpx.NetworkError, ServiceUnavailableError, None),
    (httpx.RemoteProtocolError, InvalidReplyError, None),
    (httpx.LocalProtocolError, GatewayFaultError, None),
    (Exception, ServiceUnavailableError, None),
)


def failure_of(error: Exception, wire: Wire, *, status: int | None = None) -> Failure:
    """The failure of an exchange.

    Args:
        error: an httpx error, or an `OSError`.
        wire: the marks of the attempt; they tell `not_sent` from `maybe_sent`.
        status: of the answer, if its head was complete: whatever follows, the service has answered.
    """
    kind, phase = next((kind, phase) for match, kind, phase in _FAILURES if isinstance(error, match))
    if status is not None:
        delivery = Delivery.ANSWERED
    else:
        delivery = Delivery.NOT_SENT if wire.sent is None else Delivery.MAYBE_SENT
    return Failure(
        error=kind,
        message=str(error) or type(error).__name__,
        delivery=delivery,
        status=status,
        extra={} if phase is None else {"phase": phase},
        repeatable=not isinstance(error, ForbiddenHostError),
        incomplete=status is not None,
    )


def _tls_error(error: BaseException) -> ssl.SSLError | None:
    """The error of TLS that one of aiohttp's stands for: it copies an SSL error's number, which is no errno."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__
    return cause


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError):
        if error.errno and not isinstance(error, ssl.SSLError | socket.gaierror):  # these number their own errors
            return os.strerror(error.errno)
        if error.strerror:
            return _first_line(error.strerror)
    return _first_line(str(error) or type(error).__name__)


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:200]
