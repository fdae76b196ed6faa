"""The table of one service in the catalogue file: variables resolved, checked, and made a `Service`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.address_problems import address_problems
from gateway.auth_scheme import auth_problems
from gateway.base_call import SERVICE_NAME
from gateway.catalogue_problem import DERIVED, explain, service_keys, unknown_key
from gateway.policy import SECTIONS, merge
from gateway.service import Operation, Service, build_service
from gateway.tls import tls_problems

__all__ = ["read_service"]

#: Values of `retry` that are the service's alone.
_SHARED_BUDGET = ("budget", "budget_per_s")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def read_service(
    name: str,
    table: Any,
    defaults: Mapping[str, Mapping[str, Any]],
    environ: Mapping[str, str] | None,
    problems: list[str],
    written: list[str],
) -> Service | None:
    """The service of a table of `[services]`; None if something is wrong with it.

    Args:
        name: its key in `[services]`.
        table: what is written there.
        defaults: the tables of `[defaults]`.
        environ: resolves `${NAME}`; None leaves it as it is written.
        problems: takes a line for what is wrong.
        written: takes the keys of URLs that are not taken from the environment.
    """
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
    wrong = [*_table_problems(key, table, SECTIONS), *_operation_problems(key, table, defaults)]
    if wrong:
        problems.extend(wrong)
        return None
    try:
        service = build_service(name, table, defaults, SECTIONS)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        problems.append(explain(key, table, error))
        return None
    found = list(_service_problems(key, service, resolved=environ is not None))
    problems.extend(found)
    return None if found else service


def _table_problems(key: str, table: Mapping[str, Any], sections: Sequence[str]) -> Iterator[str]:
    for section in sections:
        if not isinstance(table.get(section, {}), dict):
            yield f"{key}.{section} = {table[section]!r}: a table is needed; write {section} = {{ … }}"


def _operation_problems(key: str, table: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Each operation by itself, so that its name is in what is said."""
    operations = table.get("operations", {})
    if not isinstance(operations, dict):
        yield f'{key}.operations = {operations!r}: a table is needed; write [{key}.operations."GET /…"]'
        return
    own = {section: table[section] for section in SECTIONS if isinstance(table.get(section), dict)}
    known = tuple(Operation.__struct_fields__)
    for name, special in operations.items():
        place = f'{key}.operations."{name}"'
        if not isinstance(special, dict):
            yield f"{place} = {special!r}: a table is needed; write [{place}]"
            continue
        unknown = [inner for inner in special if inner not in known]
        for inner in unknown:
            if inner in SECTIONS:
                yield f"{place}.{inner}: all operations of a service share one `{inner}`; move it to [{key}]"
            else:
                yield unknown_key(place, inner, known)
        wrong = list(_table_problems(place, special, Operation.TABLES))
        wrong += (
            f"{place}.retry.{inner}: all operations of a service share one budget; move it to [{key}.retry]"
            for inner in _SHARED_BUDGET
            if not wrong and inner in special.get("retry", {})
        )
        yield from wrong
        if unknown or wrong:
            continue
        try:
            merge(defaults, own)
        except (msgspec.ValidationError, ValueError):
            continue  # the service's own mistake, which is named once
        try:
            merge(defaults, own, msgspec.convert(special, Operation).tables())
        except (msgspec.ValidationError, ValueError) as error:
            yield explain(place, special, error, known)


def _service_problems(key: str, service: Service, *, resolved: bool) -> Iterator[str]:
    if not service.protocols:
        yield f'{key}: has no endpoint; add rest.url = "${{…_URL}}", graphql.url or grpc.target'
    if resolved:
        yield from address_problems(key, service)
    if service.grpc is not None:
        sources = [bool(service.grpc.protos), service.grpc.descriptor_set is not None, service.grpc.reflection]
        if sum(sources) != 1:
            yield f"{key}.grpc: needs exactly one of protos, descriptor_set and reflection, has {sum(sources)}"
    if service.auth is not None:
        yield from auth_problems(key, service.auth, service.protocols, resolved=resolved)
    if service.tls is not None:
        yield from tls_problems(key, service.tls, grpc=service.grpc is not None and service.grpc.tls, resolved=resolved)
    for place in (*service.interceptors.before, *service.interceptors.after):
        if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", place):
            yield f"{key}.interceptors: {place!r} is not a function; write 'package.module:function'"
    longest = max(policy.timeouts.attempt for policy in (service.policy, *service.operation_policies.values()))
    slow = service.policy.breaker.slow_call
    if slow is not None and slow > longest:
        yield (
            f"{key}.breaker.slow_call = {slow:g}: is longer than timeouts.attempt = {longest:g}, so no call is ever"
            " slow; lower `slow_call`"
        )


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
