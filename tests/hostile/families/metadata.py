"""gRPC: metadata, methods and requests that are more than they say."""

from typing import Any

from tests.hostile.case import Call, grpc

_NAMES = [
    "",
    " ",
    "x y",
    "x:",
    "x\r\ny",
    "x\0",
    "\u00e9",
    "X-Upper",
    "x!",
    ":path",
    ":authority",
    ":method",
    "te",
    "host",
    "content-type",
    "content-length",
    "connection",
    "user-agent ",
    "grpc-timeout",
    "grpc-status",
    "grpc-message",
    "grpc-encoding",
    "grpc-accept-encoding",
    "grpc-previous-rpc-attempts",
    "grpc-status-details-bin",
    "grpc-trace-bin",
    "grpc-tags-bin",
    "x-service-auth",
    "x_service_auth",
    "authorization",
    "x-request-id",
    "idempotency-key",
    "x-forwarded-for",
]
_VALUES: list[Any] = ["a\r\nx-evil: 1", "a\nb", "a\0b", "\u00e9", "\x7f", "\u560d\u560a", 7, None, ["a"], "v" * 8193]
_BINARY = ["!!!", "a", "a=b=", "\u00e9", "====", "a b", "a\n", "-_-_", "a\0"]
_METHODS = [
    "",
    "/",
    "GetUser",
    "a/b/c",
    "//a/b",
    "a/b\r\nx: y",
    "a/b ",
    "a/b?c",
    "a/b#c",
    "../admin/Delete",
    "a/..",
    "a..b/c",
    "a/b%2fc",
    "http://evil.example/x",
    "a.b/\u00e9",
    "a/b\0",
    7,
]


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


_NO_MESSAGES: dict[str, Any] = {
    "an unknown field": {"user_id": "1", "is_admin": True},
    "__proto__": {"__proto__": {"x": 1}},
    "a wrong type": {"user_id": {"a": 1}},
}
_REQUESTS: dict[str, Any] = {
    "nested too deep": _nested(101),
    "nested far too deep": _nested(500),
    "a number that is none": {"user_id": float("nan")},
    "half a character": {"user_id": "\ud800"},
    "no mapping": ["user_id"],
}

CASES = [
    *(Call(family="metadata", name=ascii(name), call=grpc(metadata={name: "1"})) for name in _NAMES),
    *(Call(family="metadata", name=f"x-a: {ascii(v)[:40]}", call=grpc(metadata={"x-a": v})) for v in _VALUES),
    *(Call(family="metadata", name=f"x-bin: {v!a}", call=grpc(metadata={"x-bin": v})) for v in _BINARY),
    Call(family="metadata", name="twice", call=grpc(metadata={"x_a": "1", "x-a": "2"})),
    Call(family="metadata", name="65 of them", call=grpc(metadata={f"x-{n}": "1" for n in range(65)})),
    *(Call(family="metadata", name=f"method {method!a}", call=grpc(method)) for method in _METHODS),  # type: ignore[arg-type]
    *(Call(family="metadata", name=what, call=grpc(request=request)) for what, request in _REQUESTS.items()),
    *(
        Call(family="metadata", name=what, call=grpc(request=request), in_workers=True)
        for what, request in _NO_MESSAGES.items()
    ),
]
