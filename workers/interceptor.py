"""A service owner's own functions around each attempt, named in the catalogue by dotted path.

    def before(attempt: Attempt) -> Attempt | None: ...
    def after(attempt: Attempt, result: Answer | Failure) -> Answer | Failure | None: ...

Either may be `async`. None means: as it was.
"""

import importlib
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gateway.call import protocol_of
from gateway.errors import Delivery, GatewayFaultError, InvalidCallError, ServiceError
from gateway.outcome import Failure
from gateway.plain_json import check_plain_json
from gateway.service import Interceptors
from workers.attempt import Answer, Attempt

__all__ = ["Interception", "InterceptorError"]


_log = logging.getLogger("gateway.interceptors")


class InterceptorError(ValueError):
    """An interceptor of the catalogue cannot be loaded; says which and why."""


class Interception:
    """The interceptors of one service, loaded.

    Raises:
        InterceptorError: one of them cannot be imported or is not a function.
    """

    def __init__(self, service: str, named: Interceptors) -> None:
        self._before = [(path, _load(service, path)) for path in named.before]
        self._after = [(path, _load(service, path)) for path in named.after]

    def __bool__(self) -> bool:
        return bool(self._before or self._after)

    async def before(self, attempt: Attempt) -> Attempt | Failure:
        """The attempt as the functions leave it, in order."""
        for path, function in self._before:
            given = await _call(path, function, (attempt,), Delivery.NOT_SENT)
            if isinstance(given, Failure):
                return given
            if given is not None:
                if not isinstance(given, Attempt):
                    return _fault(path, f"returned {type(given).__name__}, not an Attempt or None", Delivery.NOT_SENT)
                if (given.call.service, protocol_of(given.call)) != (attempt.call.service, protocol_of(attempt.call)):
                    return _fault(path, "changed the service or the protocol of the call", Delivery.NOT_SENT)
                # Whatever it was made of, it leaves its marks where the timeouts look for them.
                attempt = replace(given, wire=attempt.wire, number=attempt.number, budget_s=attempt.budget_s)
        return attempt

    async def after(self, attempt: Attempt, result: Answer | Failure) -> Answer | Failure:
        """The result as the functions leave it, in order."""
        for path, function in self._after:
            delivery = result.delivery if isinstance(result, Failure) else Delivery.ANSWERED
            given = await _call(path, function, (attempt, result), delivery)
            if given is not None:
                if not isinstance(given, Answer | Failure):
                    return _fault(path, f"returned {type(given).__name__}, not an Answer, a Failure or None", delivery)
                if isinstance(given, Answer) and not isinstance(given.data, bytes):
                    try:
                        check_plain_json(given.data, field="data")
                    except InvalidCallError as error:
                        return _fault(path, f"returned data that is not JSON: {error}", delivery)
                # Whatever they make of it, what the service may have seen stays as it is.
                result = replace(given, delivery=delivery) if isinstance(given, Failure) else given
        return result


async def _call(path: str, function: Callable[..., Any], arguments: Sequence[Any], delivery: Delivery) -> Any:
    try:
        given = function(*arguments)
        return await given if inspect.isawaitable(given) else given
    except ServiceError as error:
        # Its own word for what happened, such as CallRejectedError.
        extra = {name: error.fields[name] for name in type(error).FIELDS if name not in ServiceError.FIELDS}
        return Failure(
            error=type(error),
            message=error.message,
            delivery=delivery,
            details=error.details,
            extra=extra,
            repeatable=False,
        )
    except Exception as error:  # somebody else's code: any error of it must end this call only
        # Its text may hold something of the payload: it stays in this worker's log, at DEBUG.
        _log.debug("the interceptor %s raised", path, exc_info=True)
        return _fault(path, f"raised {type(error).__name__}", delivery)


def _fault(path: str, what: str, delivery: Delivery) -> Failure:
    message = f"the interceptor {path} {what}"
    return Failure(error=GatewayFaultError, message=message, delivery=delivery, repeatable=False)


def _load(service: str, path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InterceptorError(
            f"services.{service}.interceptors: {path!r} cannot be loaded ({error}); correct it, or install its package"
        ) from error
    if not callable(found):
        raise InterceptorError(f"services.{service}.interceptors: {path!r} is not a function; name one")
    return found  # type: ignore[no-any-return]
