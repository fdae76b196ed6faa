"""Where a call waits and what it is called: pure functions of the call."""

from collections.abc import Mapping
from typing import Any

from gateway import graphql_document
from gateway.call import Call
from gateway.envelope import check_id
from gateway.errors import InvalidCallError

__all__ = ["FRONT_QUEUE", "correlation_id_of", "describe", "display_name", "queue_of", "shortened"]

#: Takes the calls of producers that have no catalogue, and so cannot tell whether a service exists.
FRONT_QUEUE = "gateway"

_MAX_NAME = 200


def queue_of(service: str) -> str:
    """The queue of one service: a service that is slow holds up no other."""
    return f"{FRONT_QUEUE}.{service}"


def display_name(call: Call) -> str:
    """What operators see, the same for all calls of an operation: `"user-service GET /users/{user_id}"`."""
    return f"{call.service} {call.operation}"[:_MAX_NAME]


def shortened(operation: str) -> str:
    """An operation for people and labels: a route that is written by hand may have thousands of characters."""
    return operation if len(operation) <= _MAX_NAME else f"{operation[: _MAX_NAME - 1]}…"


def describe(kwargs: object) -> tuple[str, str]:
    """Display name and one-line summary of a message's keyword arguments, whoever wrote them. Never raises.

    The summary is a literal of Python, such as `{'correlation_id': 'order-42', 'caller': 'orders'}`: Flower reads that,
    and finds the call by `kwargs:correlation_id=order-42`. Neither has anything of the call's payload.
    """
    fields: Mapping[Any, Any] = kwargs if isinstance(kwargs, Mapping) else {}
    call = fields.get("call")
    name = "gateway.call"
    if isinstance(call, Mapping):
        what = _operation(call)
        name = f"{_line(call.get('service'))} {what}".strip() or name
    said = {
        field: _line(fields[field])
        for field in ("correlation_id", "request_id", "caller", "idempotency_key")
        if isinstance(fields.get(field), str)
    }
    return name[:_MAX_NAME], repr(said)


def correlation_id_of(kwargs: Mapping[str, Any]) -> str | None:
    """The correlation id of a message that cannot be read otherwise; None if it has no valid one."""
    given = kwargs.get("correlation_id")
    try:
        check_id("correlation_id", given)
    except InvalidCallError:
        return None
    return given


def _operation(call: Mapping[Any, Any]) -> str:
    match call.get("protocol"):
        case "rest":
            return f"{_line(call.get('method'))} {_line(call.get('route'))}".strip()
        case "grpc":
            return _line(call.get("method"))
        case "graphql":
            document = call.get("query")
            if not isinstance(document, str):
                return "graphql"
            try:
                operation = graphql_document.select(document, call.get("operation_name"))
            except (ValueError, TypeError):
                return "graphql"
            return f"{operation.kind} {operation.name}".strip()
        case _:
            return ""


def _line(value: object) -> str:
    """Text of an unknown value that is safe to show: one line, printable, short."""
    if not isinstance(value, str):
        return ""
    return "".join(character if character.isprintable() else "?" for character in value[:_MAX_NAME])
