"""The calls that a producer can make: frozen, complete and checked before anything is enqueued.

A call says *what* is asked of *which* service. Where the service is, how it is authenticated and how patient the
gateway is with it are the catalogue's, in the worker.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, Never, TypeAlias
from urllib.parse import quote, unquote, urlencode

import msgspec
from msgspec import UNSET, UnsetType

from gateway import graphql_document, headers
from gateway.errors import InvalidCallError
from gateway.plain_json import check_plain_json
from gateway.reference import Previous

__all__ = ["Call", "GraphQLCall", "GrpcCall", "Protocol", "RestCall", "Scalar"]

Protocol: TypeAlias = Literal["rest", "grpc", "graphql"]
Scalar: TypeAlias = str | int | float | bool
Value: TypeAlias = Scalar | Previous

_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "POST", "PATCH")
#: RFC 9110, section 9.2.2.
_IDEMPOTENT_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))
_SERVICE = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_GRPC_METHOD = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*/[A-Za-z_]\w*", re.ASCII)
#: What RFC 3986, section 3.3, allows in a path beside percent-encodings; `{` and `}` are the template's.
_ROUTE = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2}|\{[A-Za-z_][A-Za-z0-9_]*\})*")


def _refuse(field: str, why: str, cure: str) -> Never:
    raise InvalidCallError(f"{field}: {why}; {cure}", field=field, cure=cure)


def _check_service(service: object) -> None:
    if not isinstance(service, str) or not _SERVICE.fullmatch(service):
        _refuse(
            "service",
            f"{service!r} is not the name of a service",
            "use the name from the catalogue, such as 'user-service' (a-z, 0-9, '.', '_', '-'), never a URL",
        )


def _check_mapping(field: str, value: object) -> None:
    if not isinstance(value, Mapping):
        _refuse(field, f"a mapping is needed, not {type(value).__name__}", f"pass {field}={{'name': value}}")
    for name in value:
        if not isinstance(name, str):
            _refuse(field, f"the name {name!r} is not a string", "use strings as names")


def _check_timeout(seconds: object) -> None:
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
        _refuse("attempt_timeout", f"{seconds!r} is not a positive number of seconds", "pass for example 2.5")


def _text(field: str, value: object) -> str:
    """A path or query value as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        _refuse(field, f"{value!r} is not a number that can be sent", "pass a finite number or a string")
    if not isinstance(value, str | int | float):
        _refuse(field, f"{type(value).__name__} is not text or a number", "pass a string, a number or a bool")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(field, "it is not valid Unicode (a lone surrogate)", "pass text that can be encoded as UTF-8")
    return text


class _Base(msgspec.Struct, frozen=True, tag_field="protocol", forbid_unknown_fields=True, omit_defaults=True):
    """What all calls have: the service comes first."""

    service: str


class _RestTarget(_Base, frozen=True):
    method: str
    route: str


class RestCall(_RestTarget, frozen=True, kw_only=True, tag="rest"):
    """An HTTP request.

    Args:
        service: the service's name in the catalogue.
        method: GET, HEAD, OPTIONS, TRACE, PUT, DELETE, POST or PATCH.
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

    path: dict[str, Value] = {}
    query: dict[str, Value | list[Value] | None] = {}
    headers: dict[str, str] = {}
    json: Any | UnsetType = UNSET
    form: dict[str, Value | list[Value]] | UnsetType = UNSET
    content: bytes | UnsetType = UNSET
    content_type: str | UnsetType = UNSET
    attempt_timeout: float | None = None

    def __post_init__(self) -> None:
        _check_service(self.service)
        self._check_method()
        self._check_route()
        _check_mapping("query", self.query)
        headers.check(self.headers, field="headers")
        _check_timeout(self.attempt_timeout)
        self._check_body()
        self._check_path()
        for name, value in self.query.items():
            for item in value if isinstance(value, list) else [value]:
                if item is not None and not isinstance(item, Previous):
                    _text(f"query.{name}", item)

    def _check_method(self) -> None:
        if not isinstance(self.method, str) or self.method.upper() not in _METHODS:
            _refuse(
                "method", f"{self.method!r} is not a method that a call may use", f"use one of {', '.join(_METHODS)}"
            )
        msgspec.structs.force_setattr(self, "method", self.method.upper())

    def _check_route(self) -> None:
        route = self.route
        if not isinstance(route, str) or "://" in route or route.startswith("//"):
            _refuse(
                "route", f"{route!r} is not a path", "pass the path below the service's URL, such as '/users/{user_id}'"
            )
        if "?" in route or "#" in route:
            _refuse("route", f"{route!r} has a query or a fragment", "pass query parameters as query={...}")
        if not _ROUTE.fullmatch(route):
            _refuse(
                "route",
                f"{route!r} has characters that a path may not have, or does not start with '/'",
                "start with '/', write parameters as '{name}' and pass their values as path={...}",
            )
        _check_segments("route", route)

    def _check_path(self) -> None:
        _check_mapping("path", self.path)
        wanted = _PARAMETER.findall(self.route)
        for name in wanted:
            if name not in self.path:
                _refuse(f"path.{name}", f"the route {self.route!r} needs it", f"pass path={{'{name}': ...}}")
        for name in self.path:
            if name not in wanted:
                _refuse(f"path.{name}", f"the route {self.route!r} has no such parameter", "leave it out, or name it")
        if not any(isinstance(value, Previous) for value in self.path.values()):
            _check_segments("path", self.url_path())

    def _check_body(self) -> None:
        bodies = [name for name in ("json", "form", "content") if getattr(self, name) is not UNSET]
        if len(bodies) > 1:
            _refuse(bodies[1], f"the call has a {bodies[0]!r} body already", "pass one of json, form and content")
        if self.json is not UNSET:
            check_plain_json(self.json, field="json")
        if self.form is not UNSET:
            _check_mapping("form", self.form)
            for name, value in self.form.items():
                for item in value if isinstance(value, list) else [value]:
                    if not isinstance(item, Previous):
                        _text(f"form.{name}", item)
        if self.content is not UNSET and not isinstance(self.content, bytes):
            _refuse(
                "content", f"bytes are needed, not {type(self.content).__name__}", "encode it, or use json= or form="
            )
        if self.content_type is not UNSET:
            if self.content is UNSET:
                _refuse("content_type", "the call has no content", "pass it together with content=b'...'")
            headers.check({"content-type": self.content_type}, field="content_type", reserved=False)

    def url_path(self) -> str:
        """The route with its values in, percent-encoded."""

        def value(match: re.Match[str]) -> str:
            name = match[1]
            text = _text(f"path.{name}", self.path[name])
            if not text:
                _refuse(f"path.{name}", "it is empty, which would ask for another resource", "pass a value")
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
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]
    return urlencode(pairs)


def _check_segments(field: str, path: str) -> None:
    """Refuse what a server or a proxy may resolve to another path (RFC 3986, section 5.2.4)."""
    decoded = path
    for _ in range(3):  # a double encoding is decoded twice by some proxies
        if "\\" in decoded or any(segment.split(";")[0] in (".", "..") for segment in decoded.split("/")):
            _refuse(field, "it has a '.' or '..' segment or a backslash", "pass the path that is meant")
        if any(ord(character) < 32 or ord(character) == 127 for character in decoded):
            _refuse(field, "it has a control character", "leave it out")
        decoded = unquote(decoded)


class _GrpcTarget(_Base, frozen=True):
    method: str
    request: dict[str, Any] = {}


class GrpcCall(_GrpcTarget, frozen=True, kw_only=True, tag="grpc"):
    """A gRPC call, unary or server streaming (the messages are collected).

    Args:
        service: the service's name in the catalogue.
        method: full name of the method, `"package.Service/Method"`.
        request: the request message as JSON (protobuf's JSON mapping; field names as in the `.proto` or in camelCase).
        metadata: request metadata, names in lower case; the value of a `-bin` name is base64.
        attempt_timeout: seconds for one attempt, instead of the service's policy.

    Raises:
        InvalidCallError: names the field and the cure.
    """

    metadata: dict[str, str] = {}
    attempt_timeout: float | None = None

    def __post_init__(self) -> None:
        _check_service(self.service)
        method = self.method.removeprefix("/") if isinstance(self.method, str) else self.method
        if not isinstance(method, str) or not _GRPC_METHOD.fullmatch(method):
            _refuse("method", f"{self.method!r} is not a gRPC method", "pass 'package.Service/Method'")
        msgspec.structs.force_setattr(self, "method", method)
        _check_mapping("request", self.request)
        check_plain_json(self.request, field="request")
        headers.check(self.metadata, field="metadata")
        for name in self.metadata:
            if name != name.lower():
                _refuse(f"metadata.{name}", "names of gRPC metadata are in lower case", f"write {name.lower()!r}")
        _check_timeout(self.attempt_timeout)

    @property
    def operation(self) -> str:
        """Name of what is asked."""
        return self.method

    @property
    def idempotent(self) -> bool:
        """False: only the method's descriptor or the catalogue, both in the worker, can say otherwise."""
        return False


class _GraphQLTarget(_Base, frozen=True):
    query: str
    variables: dict[str, Any] = {}


class GraphQLCall(_GraphQLTarget, frozen=True, kw_only=True, tag="graphql"):
    """A GraphQL query or mutation, sent as POST (GraphQL over HTTP).

    Args:
        service: the service's name in the catalogue.
        query: the document.
        variables: its variables; plain JSON.
        operation_name: which operation of the document to run; needed when it has several.
        headers: request headers. Those that the gateway sets are refused, see `gateway.headers`.
        attempt_timeout: seconds for one attempt, instead of the service's policy.

    Raises:
        InvalidCallError: names the field and the cure.
    """

    operation_name: str | None = None
    headers: dict[str, str] = {}
    attempt_timeout: float | None = None

    def __post_init__(self) -> None:
        _check_service(self.service)
        _check_mapping("variables", self.variables)
        check_plain_json(self.variables, field="variables")
        headers.check(self.headers, field="headers")
        _check_timeout(self.attempt_timeout)
        self._selected()

    def _selected(self) -> graphql_document.Operation:
        return graphql_document.select(self.query, self.operation_name)

    @property
    def operation(self) -> str:
        """Name of what is asked, such as `"query GetUser"`."""
        selected = self._selected()
        return f"{selected.kind} {selected.name}" if selected.name else selected.kind

    @property
    def idempotent(self) -> bool:
        """A query is, a mutation is not."""
        return self._selected().kind == "query"


Call: TypeAlias = RestCall | GrpcCall | GraphQLCall


def protocol_of(call: Call) -> Protocol:
    """The call's protocol, as the catalogue and the wire name it."""
    match call:
        case RestCall():
            return "rest"
        case GrpcCall():
            return "grpc"
        case GraphQLCall():
            return "graphql"
