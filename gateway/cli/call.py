"""`gateway call`: one call from the shell, and its outcome."""

import json
import sys
from typing import Any, Never

import click

from gateway.call import Call, GraphQLCall, GrpcCall, RestCall
from gateway.catalogue import CatalogueError
from gateway.client import Gateway
from gateway.errors import Delivery, GatewayUnavailableError, InvalidCallError, ServiceError, UnknownServiceError
from gateway.settings import SettingsError

__all__ = ["call"]

_FAILED = 1
_NOT_ENQUEUED = 2


@click.command()
@click.argument("service")
@click.argument("what", nargs=-1, required=True)
@click.option("-p", "--path", multiple=True, metavar="NAME=VALUE", help="A path parameter (REST).")
@click.option("-q", "--query", multiple=True, metavar="NAME=VALUE", help="A query parameter (REST); may be repeated.")
@click.option("-d", "--data", metavar="JSON", help="REST: the JSON body. gRPC: the request. GraphQL: the variables.")
@click.option("-H", "--header", multiple=True, metavar="NAME=VALUE", help="A request header, or gRPC metadata.")
@click.option("--deadline", type=float, default=30.0, show_default=True, help="Seconds until nobody waits any more.")
@click.option("--correlation-id", default=None, help="Ties the call to what it belongs to.")
@click.option("--idempotency-key", default=None, help="Makes the call safe to repeat.")
@click.option("--no-wait", is_flag=True, help="Print the call's id and go.")
def call(
    service: str,
    what: tuple[str, ...],
    path: tuple[str, ...],
    query: tuple[str, ...],
    data: str | None,
    header: tuple[str, ...],
    deadline: float,
    correlation_id: str | None,
    idempotency_key: str | None,
    no_wait: bool,
) -> None:
    """Make a call and print its reply as JSON.

    \b
    gateway call user-service GET '/users/{user_id}' -p user_id=123
    gateway call user-service goodgo.user.v1.UserService/GetUser -d '{"user_id": "123"}'
    gateway call user-service 'query($id: ID!) { user(id: $id) { name } }' -d '{"id": "123"}'

    The exit code is 0 for a reply, 1 for an error of the call, 2 for a call that was not enqueued.
    """
    try:
        made = _make(service, what, path=_pairs(path), query=_lists(query), data=_json(data), header=_pairs(header))
        gateway = Gateway.from_env()
    except (InvalidCallError, SettingsError, CatalogueError) as error:
        raise click.UsageError(str(error)) from None
    with gateway:
        try:
            pending = gateway.submit(
                made, deadline=deadline, correlation_id=correlation_id, idempotency_key=idempotency_key
            )
        except (InvalidCallError, UnknownServiceError) as error:
            raise click.UsageError(str(error)) from None
        except GatewayUnavailableError as error:
            # Only what surely was not enqueued may be said not to be.
            _fail(error, _NOT_ENQUEUED if error.delivery is Delivery.NOT_SENT else _FAILED)
        if no_wait:
            click.echo(pending.id)
            return
        try:
            reply = pending.result()
        except ServiceError as error:
            _fail(error, _FAILED)
    click.echo(json.dumps(reply.to_wire(), indent=2, ensure_ascii=False))


def _fail(error: ServiceError, code: int) -> Never:
    click.echo(json.dumps({"error": type(error).__name__, "message": error.message, **error.fields}, indent=2))
    sys.exit(code)


def _make(
    service: str,
    what: tuple[str, ...],
    *,
    path: dict[str, str],
    query: dict[str, Any],
    data: Any,
    header: dict[str, str],
) -> Call:
    if len(what) == 2:
        body = {} if data is None else {"json": data}
        return RestCall(service, what[0], what[1], path=dict(path), query=query, headers=header, **body)
    if len(what) > 2:
        raise click.UsageError("pass METHOD ROUTE, a gRPC method or a GraphQL document; quote what has spaces")
    if path or query:
        raise click.UsageError("--path and --query are for REST: pass METHOD ROUTE")
    if "{" in what[0]:
        return GraphQLCall(service, what[0], data or {}, headers=header)
    return GrpcCall(service, what[0], data or {}, metadata=header)


def _json(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"--data is not JSON: {error}") from None


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for item in given:
        name, separator, value = item.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{item!r} is not NAME=VALUE")
        pairs[name] = value
    return pairs


def _lists(given: tuple[str, ...]) -> dict[str, Any]:
    lists: dict[str, list[str]] = {}
    for item in given:
        for name, value in _pairs((item,)).items():
            lists.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in lists.items()}
