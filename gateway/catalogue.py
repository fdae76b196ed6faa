"""The catalogue: which services there are, from the configuration file.

A producer reads it to refuse a wrong call before it is enqueued; it needs neither addresses nor secrets. A worker reads
it with every `${NAME}` resolved, and does not start with a file that is wrong.
"""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from gateway.call import Call, protocol_of
from gateway.caller import Caller, read_caller
from gateway.catalogue_problem import explain, unknown_key
from gateway.catalogue_service import read_service
from gateway.errors import InvalidCallError, UnknownServiceError
from gateway.network import Network
from gateway.policy import SECTIONS, merge
from gateway.sealing_keys import SealingKeys, read_sealing
from gateway.service import Service

__all__ = ["Catalogue", "CatalogueError"]


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


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """The services and callers of one configuration file.

    Attributes:
        path: the file; relative paths in it are relative to its folder.
        defaults: the policy tables of `[defaults]`, as they are written.
        services: by name.
        callers: by name.
        written_urls: keys whose URL is written into the file instead of coming from the environment.
        sealing: the keys of what producers seal for the workers.
    """

    path: str
    services: dict[str, Service]
    defaults: dict[str, dict[str, Any]] = {}
    callers: dict[str, Caller] = {}
    written_urls: list[str] = []
    sealing: SealingKeys = SealingKeys()

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
        except (ValueError, RecursionError) as error:
            raise CatalogueError(str(path), [f"is not TOML: {error}; correct it there"]) from error
        return cls.parse(document, path=str(path), environ=environ)

    @classmethod
    def parse(
        cls, document: Mapping[str, Any], *, path: str = "gateway.toml", environ: Mapping[str, str] | None = None
    ) -> "Catalogue":
        """Check a catalogue that is parsed already; see `load`."""
        problems: list[str] = []
        known = ("defaults", "services", "callers", "sealing")
        problems.extend(unknown_key("", key, known) for key in document if key not in known)
        defaults = _table(document, "defaults", problems)
        inheritable = (*SECTIONS, "network")
        problems.extend(unknown_key("defaults", key, inheritable) for key in defaults if key not in inheritable)
        # No policy: a service's own replaces it as a whole.
        inherited = {"network": defaults["network"]} if "network" in defaults else {}
        try:
            msgspec.convert(inherited.get("network", {}), Network)
        except msgspec.ValidationError as error:
            problems.append(explain("defaults.network", inherited["network"], error))
            inherited = {}
        usable: dict[str, Any] = {section: value for section, value in defaults.items() if section in SECTIONS}
        try:
            merge(usable)
        except (msgspec.ValidationError, TypeError, ValueError, AttributeError) as error:
            problems.append(explain("defaults", usable, error))
            usable = {}
        services: dict[str, Service] = {}
        written: list[str] = []
        for name, table in _table(document, "services", problems).items():
            table = {**inherited, **table} if isinstance(table, dict) else table
            service = read_service(name, table, usable, environ, problems, written)
            if service is not None:
                services[name] = service
        callers = {}
        for name, table in _table(document, "callers", problems).items():
            caller = read_caller(name, table, problems)
            if caller is not None:
                callers[name] = caller
        sealing = read_sealing(_table(document, "sealing", problems), problems)
        if problems:
            raise CatalogueError(path, problems)
        return cls(
            path=path,
            services=services,
            defaults=usable,
            callers=callers,
            written_urls=written,
            sealing=sealing,
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
