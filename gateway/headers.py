"""Which request headers and gRPC metadata a producer may set."""

import re
from collections.abc import Mapping

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
    **dict.fromkeys(
        ("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "x-host", "x-forwarded"),
        "nobody stands before the gateway: it is the client",
    ),
    **dict.fromkeys(
        ("x-http-method", "x-http-method-override", "x-method-override"), "the method of a call is what it says"
    ),
    **dict.fromkeys(("x-original-url", "x-rewrite-url", "x-original-host"), "the route of a call is what it says"),
    **dict.fromkeys(("content-encoding", "content-range", "http2-settings"), "the transport frames the body"),
    "cookie": "cookies are off: a call carries all it says",
    "accept-encoding": "the transport sets what it can decode",
    "x-correlation-id": "pass correlation_id to submit",
    "x-request-id": "the gateway makes one for each attempt",
    "idempotency-key": "pass idempotency_key to submit",
    "traceparent": "the gateway passes the trace on",
    "tracestate": "the gateway passes the trace on",
}

#: Families of headers by which a proxy tells who the client is, or is told what to do (Envoy, Linkerd).
_RESERVED_PREFIXES = ("x-forwarded-", "proxy-", "x-envoy-", "l5d-")
#: RFC 9110, section 5.6.2.
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: RFC 9110, section 5.5, without obs-text: what is not ASCII is read differently by every server.
_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?|")

#: Bound of one value, what common servers accept for a header line.
_MAX_VALUE = 8192
_MAX_NAME = 256
#: Bounds of all of them together, within what common servers accept with the gateway's own beside them.
_MAX_COUNT = 64
_MAX_TOTAL = 16 * 1024


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
        raise InvalidCallError.because(
            field, f"a mapping is needed, not {type(headers).__name__}", f"pass {field}={{'name': 'value'}}"
        )
    if len(headers) > _MAX_COUNT:
        raise InvalidCallError.because(
            field, f"there are {len(headers)}, more than {_MAX_COUNT}", "pass the data in the body"
        )
    seen: set[str] = set()
    total = 0
    for name, value in headers.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidCallError.because(field, f"{name!r:.80} is not a header name", "use letters, digits and '-'")
        if len(name) > _MAX_NAME:
            raise InvalidCallError.because(
                field, f"a name has {len(name)} characters, more than {_MAX_NAME}", "pass the data in the body"
            )
        at = field if not reserved else f"{field}.{name}"
        lower = name.lower()
        # CGI and WSGI servers read `x_service_auth` as `x-service-auth`.
        folded = lower.replace("_", "-")
        if reserved and (folded in RESERVED or folded.startswith(_RESERVED_PREFIXES)):
            why = RESERVED.get(folded, "nobody stands before the gateway: it is the client")
            raise InvalidCallError.because(at, "it is reserved", why)
        if reserved and lower.startswith(("grpc-", ":")):
            raise InvalidCallError.because(at, "it is reserved for gRPC itself", "leave it out")
        if folded in seen:
            raise InvalidCallError.because(at, "it is given twice, in different case", "pass it once")
        seen.add(folded)
        if not isinstance(value, str):
            raise InvalidCallError.because(at, f"the value is {type(value).__name__}, not a string", "pass a string")
        if "\r" in value or "\n" in value or "\0" in value:
            raise InvalidCallError.because(at, "the value has a CR, LF or NUL", "leave it out: a header is one line")
        if not _VALUE.fullmatch(value):
            raise InvalidCallError.because(
                at, "the value is not printable ASCII, or begins or ends with a space", "percent-encode or trim it"
            )
        if len(value) > _MAX_VALUE:
            raise InvalidCallError.because(
                at, f"the value has {len(value)} characters, more than {_MAX_VALUE}", "pass it in the body"
            )
        total += len(name) + len(value)
        if total > _MAX_TOTAL:
            raise InvalidCallError.because(
                field, f"all together have more than {_MAX_TOTAL} characters", "pass the data in the body"
            )
