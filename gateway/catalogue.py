"""The catalogue: which services there are, from the configuration file.

A producer reads it to refuse a wrong call before it is enqueued; it needs neither addresses nor secrets. A worker reads
it with every `${NAME}` resolved, and does not start with a file that is wrong.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from gateway import headers
from gateway.base_call import SERVICE_NAME
from gateway.call import Call, protocol_of
from gateway.catalogue_problem import DERIVED, explain, service_keys, unknown_key
from gateway.errors import InvalidCallError, UnknownServiceError
from gateway.policy import SECTIONS, merge
from gateway.service import Service, build_service

__all__ = ["Caller", "Catalogue", "CatalogueError"]

#: Of the reserved headers, those that may carry a credential.
_FOR_CREDENTIALS = ("x-service-auth", "authorization", "cookie", "proxy-authorization")
_NOT_FOR_CREDENTIALS = frozenset(headers.RESERVED) - set(_FOR_CREDENTIALS)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+")


class CatalogueError(ValueError):
    """The catalogue file is wrong.

    Attributes:
        problems: one line for each, with the key, the value, why it is wrong and the cure.
    """

    def __init__(self, path: str, problems: list[str]) -> None:
        self.path = path
        self.problems = problems
        super().__init__(path, problems)

    def __str__(self) -> str:
        return f"{self.path}:\n" + "\n".join(f"  {problem}" for problem in self.problems)


class Caller(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may enqueue what.

    Attributes:
        key: secret reference of the caller's signing key.
        allow: `"service operation"` patterns.
    """

    key: str
    allow: list[str] = []


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """The services and callers of one configuration file.

    Attributes:
        path: the file; relative paths in it are relative to its folder.
        services: by name.
        callers: by name.
        written_urls: keys whose URL is written into the file instead of coming from the environment.
        not_acted_on: keys that are read and checked, and that this version does not act on.
    """

    path: str
    services: dict[str, Service]
    callers: dict[str, Caller] = {}
    written_urls: list[str] = []
    not_acted_on: list[str] = []

    @classmethod
    def load(cls, path: str | Path, environ: Mapping[str, str] | None = None) -> "Catalogue":
        """Read and check a catalogue file.

        Args:
            path: a TOML file.
            environ: resolves `${NAME}`; None leaves addresses as they are written, which is enough for a producer.

        Raises:
            CatalogueError: the file cannot be read or is wrong; lists every service's first problem.
        """
        try:
            document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise CatalogueError(
                str(path), [f"cannot be read: {error.strerror}; set GATEWAY_CONFIG to a file"]
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CatalogueError(str(path), [f"is not TOML: {error}; correct it there"]) from error
        return cls.parse(document, path=str(path), environ=environ)

    @classmethod
    def parse(
        cls, document: Mapping[str, Any], *, path: str = "gateway.toml", environ: Mapping[str, str] | None = None
    ) -> "Catalogue":
        """Check a catalogue that is parsed already; see `load`."""
        problems: list[str] = []
        known = ("defaults", "services", "callers")
        problems.extend(unknown_key("", key, known) for key in document if key not in known)
        defaults = _table(document, "defaults", problems)
        problems.extend(unknown_key("defaults", key, SECTIONS) for key in defaults if key not in SECTIONS)
        usable = {section: value for section, value in defaults.items() if section in SECTIONS}
        try:
            merge(usable)
        except (msgspec.ValidationError, TypeError, ValueError, AttributeError) as error:
            problems.append(explain("defaults", usable, error))
            usable = {}
        services: dict[str, Service] = {}
        written: list[str] = []
        for name, table in _table(document, "services", problems).items():
            service = _service(name, table, usable, environ, problems, written)
            if service is not None:
                services[name] = service
        callers = {}
        for name, table in _table(document, "callers", problems).items():
            try:
                callers[name] = msgspec.convert(table, Caller)
            except msgspec.ValidationError as error:
                problems.append(explain(f"callers.{name}", table, error))
        if problems:
            raise CatalogueError(path, problems)
        return cls(
            path=path,
            services=services,
            callers=callers,
            written_urls=written,
            not_acted_on=list(_not_acted_on(document)),
        )

    def service_for(self, call: Call) -> Service:
        """The service of a call.

        Raises:
            UnknownServiceError: the catalogue does not have it, or it does not speak the call's protocol.
            InvalidCallError: it has no such operation.
        """
        service = self.services.get(call.service)
        if service is None:
            near = get_close_matches(call.service, self.services, n=1)
            cure = (
                f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(self.services)) or 'no service'}"
            )
            raise UnknownServiceError(
                f"service: the catalogue has no service {call.service!r}; {cure}",
                service=call.service,
                operation=call.operation,
                cure=cure,
            )
        if not service.speaks(call):
            protocol = protocol_of(call)
            cure = f"use {' or '.join(service.protocols)}, or add `{protocol}` to the service in the catalogue"
            raise UnknownServiceError(
                f"service: {call.service!r} has no {protocol} endpoint; {cure}",
                service=call.service,
                operation=call.operation,
                cure=cure,
            )
        if service.only_listed_operations and call.operation not in service.operations:
            near = get_close_matches(call.operation, service.operations, n=1)
            known = ", ".join(sorted(service.operations)) or "none"
            cure = f"did you mean {near[0]!r}?" if near else f"its operations are: {known}"
            raise InvalidCallError(
                f"operation: {call.service!r} has no operation {call.operation!r}; {cure}",
                service=call.service,
                operation=call.operation,
                field="operation",
                cure=cure,
            )
        return service


def _table(document: Mapping[str, Any], key: str, problems: list[str]) -> Mapping[str, Any]:
    value = document.get(key, {})
    if isinstance(value, dict):
        return value
    problems.append(f"{key} = {value!r}: a table is needed; write [{key}]")
    return {}


def _not_acted_on(document: Mapping[str, Any]) -> Iterator[str]:
    places = {"defaults": document.get("defaults", {})}
    for name, service in document.get("services", {}).items():
        places[f"services.{name}"] = service
        for operation, special in service.get("operations", {}).items():
            places[f'services.{name}.operations."{operation}"'] = special
    for place, table in places.items():
        yield from (f"{place}.{section}" for section in ("retry", "breaker", "limit") if section in table)
    yield from (f"callers.{name}" for name in document.get("callers", {}))


def _service(
    name: str,
    table: Any,
    defaults: Mapping[str, Mapping[str, Any]],
    environ: Mapping[str, str] | None,
    problems: list[str],
    written: list[str],
) -> Service | None:
    key = f"services.{name}"
    if not SERVICE_NAME.fullmatch(name):
        problems.append(f"{key}: {name!r} is not a service name; use a-z, 0-9, '.', '_' and '-'")
        return None
    if not isinstance(table, dict):
        problems.append(f"{key} = {table!r}: a table is needed; write [{key}]")
        return None
    for place in ("rest.url", "graphql.url", "grpc.target"):
        section, _, field = place.partition(".")
        value = table.get(section)
        if isinstance(value, dict) and isinstance(value.get(field), str) and "${" not in value[field]:
            written.append(f"{key}.{place}")
    missing: list[str] = []
    if environ is not None:
        table = _resolve(table, environ, missing, key)
    if missing:
        problems.extend(missing)
        return None
    derived = [key_ for key_ in DERIVED if key_ in table]
    if derived:
        problems.append(unknown_key(key, derived[0], service_keys()))
        return None
    try:
        service = build_service(name, table, defaults, SECTIONS)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        problems.append(explain(key, table, error))
        return None
    found = list(_service_problems(key, service, resolved=environ is not None))
    problems.extend(found)
    return None if found else service


def _service_problems(key: str, service: Service, *, resolved: bool) -> Iterator[str]:
    if not service.protocols:
        yield f'{key}: has no endpoint; add rest.url = "${{…_URL}}", graphql.url or grpc.target'
    if resolved:
        for place, url in (("rest", service.rest), ("graphql", service.graphql)):
            if url is not None:
                yield from _url_problems(f"{key}.{place}.url", url.url)
        if service.grpc is not None and (not service.grpc.target or "://" in service.grpc.target.replace(":///", ":")):
            yield f"{key}.grpc.target = {service.grpc.target!r}: is not a gRPC target; write for example 'users:50051'"
    if service.grpc is not None:
        sources = [bool(service.grpc.protos), service.grpc.descriptor_set is not None, service.grpc.reflection]
        if sum(sources) != 1:
            yield f"{key}.grpc: needs exactly one of protos, descriptor_set and reflection, has {sum(sources)}"
    if service.auth is not None:
        if service.auth.type != "service-key":
            yield f"{key}.auth.type = {service.auth.type!r}: is not a scheme; use 'service-key'"
        if not _SECRET.fullmatch(service.auth.secret):
            # The value is not shown: it may be the secret itself.
            yield f"{key}.auth.secret: is not a reference; write 'env:NAME' or 'file:/path', never the secret itself"
    if service.auth is not None:
        try:
            headers.check({service.auth.header: "x"}, field=f"{key}.auth.header", reserved=False)
        except InvalidCallError as error:
            yield str(error)
        if service.auth.header.lower() in _NOT_FOR_CREDENTIALS or service.auth.header.lower().startswith("grpc-"):
            yield f"{key}.auth.header = {service.auth.header!r}: is not for credentials; use 'x-service-auth'"
    for place in (*service.interceptors.before, *service.interceptors.after):
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", place):
            yield f"{key}.interceptors: {place!r} is not a function; write 'package.module:function'"


def _url_problems(key: str, url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_valid = None, False
    if parts is None or not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname:
        yield f"{key} = {url!r}: is not an http or https URL; write for example 'http://user-service:5000'"
    elif parts.username is not None or parts.password is not None:
        yield f"{key}: has credentials in it; use `auth` with a secret reference instead"
    elif parts.query or parts.fragment:
        yield f"{key} = {url!r}: has a query or a fragment; leave them out"


def _resolve(value: Any, environ: Mapping[str, str], missing: list[str], key: str) -> Any:
    if isinstance(value, dict):
        return {name: _resolve(item, environ, missing, f"{key}.{name}") for name, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, environ, missing, f"{key}[{position}]") for position, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        found = environ.get(name) or default
        if found is None:
            missing.append(
                f'{key} = "{value}": {name} is not set in the environment; set it, or write ${{{name}:-default}}'
            )
            return ""
        return found

    return _VARIABLE.sub(variable, value)
