"""Which request headers and gRPC metadata a producer may set."""

import re
from collections.abc import Mapping
from typing import Never

from gateway.errors import InvalidCallError

__all__ = ["RESERVED", "check"]

#: Header → what sets it. A producer that could set one would change the framing of the request, or who seems to ask.
RESERVED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "upgrade",
            "te",
            "trailer",
            "expect",
        ),
        "the transport sets it",
    ),
    **dict.fromkeys(("proxy-authorization", "proxy-authenticate", "proxy-connection"), "proxies are not the caller's"),
    **dict.fromkeys(
        ("x-service-auth", "authorization"),
        "credentials stay in the worker: set `auth` of the service in the catalogue",
    ),
    "cookie": "cookies are off: a call carries all it says",
    "accept-encoding": "the transport sets what it can decode",
    "x-correlation-id": "pass correlation_id to submit",
    "x-request-id": "the gateway makes one for each attempt",
    "idempotency-key": "pass idempotency_key to submit",
    "traceparent": "the gateway passes the trace on",
    "tracestate": "the gateway passes the trace on",
}

#: RFC 9110, section 5.6.2.
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: RFC 9110, section 5.5, without obs-text: what is not ASCII is read differently by every server.
_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?|")

#: Bound of one value, what common servers accept for a header line.
_MAX_VALUE = 8192


def check(headers: object, *, field: str, reserved: bool = True) -> None:
    """Refuse headers that are not safe to send.

    Args:
        headers: name → value.
        field: the name of the field in errors.
        reserved: also refuse the headers that the gateway sets itself.

    Raises:
        InvalidCallError: names the header and the cure.
    """
    if not isinstance(headers, Mapping):
        _refuse(field, f"a mapping is needed, not {type(headers).__name__}", f"pass {field}={{'name': 'value'}}")
    seen: set[str] = set()
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            _refuse(field, f"{name!r} is not a header name", "use letters, digits and '-'")
        at = field if not reserved else f"{field}.{name}"
        lower = name.lower()
        if reserved and lower in RESERVED:
            _refuse(at, "it is reserved", RESERVED[lower])
        if reserved and lower.startswith(("grpc-", ":")):
            _refuse(at, "it is reserved for gRPC itself", "leave it out")
        if lower in seen:
            _refuse(at, "it is given twice, in different case", "pass it once")
        seen.add(lower)
        if not isinstance(value, str):
            _refuse(at, f"the value is {type(value).__name__}, not a string", "pass a string")
        if "\r" in value or "\n" in value or "\0" in value:
            _refuse(at, "the value has a CR, LF or NUL", "leave it out: a header is one line")
        if not _VALUE.fullmatch(value):
            _refuse(at, "the value is not printable ASCII, or begins or ends with a space", "percent-encode or trim it")
        if len(value) > _MAX_VALUE:
            _refuse(at, f"the value has {len(value)} characters, more than {_MAX_VALUE}", "pass it in the body")


def _refuse(field: str, why: str, cure: str) -> Never:
    raise InvalidCallError(f"{field}: {why}; {cure}", field=field, cure=cure)
