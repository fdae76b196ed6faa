"""An HTTP request as a call."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from msgspec import UNSET, UnsetType

from gateway import headers
from gateway.base_call import BaseCall, Value, check_mapping, check_service, check_timeout, keep_copy
from gateway.errors import InvalidCallError
from gateway.path_segments import check_segments
from gateway.plain_json import MAX_BITS, check_plain_json
from gateway.reference import Previous, uses_previous

__all__ = ["RestCall", "encode_form"]

#: Neither TRACE, whose answer repeats the request with the gateway's credentials in it (RFC 9110, section 9.3.8), nor
#: CONNECT, which asks for a tunnel.
_METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH")
#: RFC 9110, section 9.2.2.
_IDEMPOTENT_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
#: Of path and query, percent-encoded: what common servers accept as a request line.
_MAX_TARGET = 16 * 1024
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: What RFC 3986, section 3.3, allows in a path beside percent-encodings; `{` and `}` are the template's.
_ROUTE = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}|\{[A-Za-z_][A-Za-z0-9_]*\})*")


class _RestTarget(BaseCall, frozen=True):
    method: str
    route: str


class RestCall(_RestTarget, frozen=True, kw_only=True, tag="rest"):
    """An HTTP request.

    Args:
        service: the service's name in the catalogue.
        method: GET, HEAD, OPTIONS, PUT, DELETE, POST or PATCH.
        route: path template below the service's URL, such as `"/users/{user_id}"`. It is what operators see.
        path: values of the template's parameters. They are percent-encoded (RFC 3986), a slash too.
        query: query parameters; a list repeats its name, None leaves it out.
        headers: request headers. Those that the gateway sets are refused, see `gateway.headers`.
        json: body as JSON (`application/json`). At most one of `json`, `form` and `content`.
        form: body as `application/x-www-form-urlencoded`.
        content: body as bytes, sent as `content_type`.
        content_type: of `content`; `application/octet-stream` by default.
        attempt_timeout: seconds for one attempt, instead of the service's policy.

    Raises:
        InvalidCallError: names the field and the cure.
    """

    path: Mapping[str, Value] = msgspec.field(default_factory=dict)
    query: Mapping[str, Value | Sequence[Value] | None] = msgspec.field(default_factory=dict)
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    json: Any | UnsetType = UNSET
    form: Mapping[str, Value | Sequence[Value]] | UnsetType = UNSET
    content: bytes | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    attempt_timeout: float | None = None

    def __post_init__(self) -> None:
        check_service(self.service)
        self._check_method()
        self._check_route()
        check_mapping("query", self.query)
        headers.check(self.headers, field="headers")
        check_timeout(self.attempt_timeout)
        self._check_body()
        self._check_path()
        for name, value in self.query.items():
            for item in value if isinstance(value, list | tuple) else [value]:
                if item is None and isinstance(value, list | tuple):
                    raise InvalidCallError.because(f"query.{name}", "None in a list", "leave it out")
                if item is not None and not isinstance(item, Previous):
                    _text(f"query.{name}", item)
            _text("query", name)
        self._check_target()
        for field in ("path", "query", "headers"):
            keep_copy(self, field)

    def _check_method(self) -> None:
        if not isinstance(self.method, str) or self.method.upper() not in _METHODS:
            raise InvalidCallError.because(
                "method", f"{self.method!r} is not a method that a call may use", f"use one of {', '.join(_METHODS)}"
            )
        msgspec.structs.force_setattr(self, "method", self.method.upper())

    def _check_route(self) -> None:
        route = self.route
        if not isinstance(route, str) or "://" in route or route.startswith("//"):
            raise InvalidCallError.because(
                "route", f"{route!r} is not a path", "pass the path below the service's URL, such as '/users/{user_id}'"
            )
        if "?" in route or "#" in route:
            raise InvalidCallError.because(
                "route", f"{route!r} has a query or a fragment", "pass query parameters as query={...}"
            )
        if not _ROUTE.fullmatch(route):
            raise InvalidCallError.because(
                "route",
                f"{route!r} has characters that a path may not have, or does not start with '/'",
                "start with '/', write parameters as '{name}' and pass their values as path={...}",
            )
        check_segments("route", route)

    def _check_path(self) -> None:
        check_mapping("path", self.path)
        wanted = _PARAMETER.findall(self.route)
        for name in wanted:
            if name not in self.path:
                raise InvalidCallError.because(
                    f"path.{name}", f"the route {self.route!r} needs it", f"pass path={{'{name}': ...}}"
                )
        for name in self.path:
            if name not in wanted:
                raise InvalidCallError.because(
                    f"path.{name}", f"the route {self.route!r} has no such parameter", "leave it out, or name it"
                )
        if not any(isinstance(value, Previous) for value in self.path.values()):
            check_segments("path", self.url_path())

    def _check_target(self) -> None:
        """Values that are references are checked when they are known."""
        path = 0 if uses_previous(self.path) else len(self.url_path())
        query = 0 if uses_previous(self.query) else len(self.query_string())
        if path + query > _MAX_TARGET:
            field = "query" if query > path else "path"
            raise InvalidCallError.because(
                field, f"path and query have more than {_MAX_TARGET} characters", "pass the data in the body"
            )

    def _check_body(self) -> None:
        bodies = [name for name in ("json", "form", "content") if getattr(self, name) is not UNSET]
        if len(bodies) > 1:
            raise InvalidCallError.because(
                bodies[1], f"the call has a {bodies[0]!r} body already", "pass one of json, form and content"
            )
        if self.json is not UNSET:
            msgspec.structs.force_setattr(self, "json", check_plain_json(self.json, field="json"))
        if self.form is not UNSET:
            check_mapping("form", self.form)
            for name, value in self.form.items():
                for item in value if isinstance(value, list | tuple) else [value]:
                    if not isinstance(item, Previous):
                        _text(f"form.{name}", item)
                _text("form", name)
            keep_copy(self, "form")
        if self.content is not UNSET and not isinstance(self.content, bytes):
            raise InvalidCallError.because(
                "content", f"bytes are needed, not {type(self.content).__name__}", "encode it, or use json= or form="
            )
        if self.content_type is not UNSET:
            if self.content is UNSET:
                raise InvalidCallError.because(
                    "content_type", "the call has no content", "pass it together with content=b'...'"
                )
            headers.check({"content-type": self.content_type}, field="content_type", reserved=False)

    def url_path(self) -> str:
        """The route with its values in, percent-encoded."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            text = _text(f"path.{name}", self.path[name])
            if not text:
                raise InvalidCallError.because(
                    f"path.{name}", "it is empty, which would ask for another resource", "pass a value"
                )
            return quote(text, safe="")

        return _PARAMETER.sub(value, self.route)

    def query_string(self) -> str:
        """The query, `application/x-www-form-urlencoded`; empty without parameters."""
        return encode_form(self.query)

    @property
    def operation(self) -> str:
        """Name of what is asked, the same for all path values."""
        return f"{self.method} {self.route}"

    @property
    def idempotent(self) -> bool:
        """Whether repeating the call changes nothing more (RFC 9110, section 9.2.2)."""
        return self.method in _IDEMPOTENT_METHODS


def encode_form(fields: Mapping[str, Any]) -> str:
    """`application/x-www-form-urlencoded` text; None leaves a field out, a list repeats its name."""
    pairs = [
        (name, _text(name, item))
        for name, value in fields.items()
        for item in (value if isinstance(value, list | tuple) else [value])
        if item is not None
    ]
    return urlencode(pairs)


def _text(field: str, value: object) -> str:
    """A path or query value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise InvalidCallError.because(
            field, f"{value!r} is not a number that can be sent", "pass a finite number or a string"
        )
    if not isinstance(value, str | int | float):
        raise InvalidCallError.because(
            field, f"{type(value).__name__} is not text or a number", "pass a string, a number or a bool"
        )
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise InvalidCallError.because(field, f"an integer of more than {MAX_BITS} bits", "pass it as a string")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidCallError.because(
            field, "it is not valid Unicode (a lone surrogate)", "pass text that can be encoded as UTF-8"
        ) from None
    return text
