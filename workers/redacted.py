"""What came of an attempt, without the credentials that it was made with: a service may say back what it was sent."""

from collections.abc import Collection
from dataclasses import replace
from typing import TypeVar

from gateway.outcome import Failure
from gateway.redaction import REDACTED, SECRETS
from workers.attempt import Answer

__all__ = ["redacted"]

Result = TypeVar("Result", bound=Answer | Failure)


def redacted(result: Result, sealed: Collection[str] = ()) -> Result:
    """The same, before anybody else sees it: results, dead letters, events, logs and interceptors follow from it.

    Args:
        result: of a transport.
        sealed: values that this call alone carries.
    """
    if isinstance(result, Answer):
        data, headers = SECRETS.reply(result.data, result.headers, sealed)
        if data is result.data and headers is result.headers:
            return result
        return replace(result, data=data, headers=headers)
    said = (result.message, result.details, dict(result.extra))
    cleaned = SECRETS.clean(said, sealed)
    if cleaned is said:
        return result
    if cleaned == REDACTED:  # nobody could search it
        return replace(result, message=SECRETS.clean(result.message, sealed), details=REDACTED, extra={})
    message, details, extra = cleaned
    return replace(result, message=message, details=details, extra=extra)
