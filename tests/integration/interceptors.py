"""What the owner of a service might add to its calls."""

from dataclasses import replace

from gateway.call import RestCall
from gateway.errors import CallRejectedError
from gateway.outcome import Failure
from workers.attempt import Answer, Attempt


def add_tenant(attempt: Attempt) -> Attempt | None:
    """Put a header on every attempt; refuse one route, and fall over at another."""
    if isinstance(attempt.call, RestCall) and attempt.call.route == "/forbidden":
        raise CallRejectedError("this route is closed")
    if isinstance(attempt.call, RestCall) and attempt.call.route == "/broken-interceptor":
        raise KeyError("oops")
    return replace(attempt, headers={**attempt.headers, "x-tenant": "acme"})


async def mark_reply(attempt: Attempt, result: Answer | Failure) -> Answer | None:
    """Show in the reply that it was seen."""
    if isinstance(result, Answer):
        return replace(result, headers={**result.headers, "x-seen": str(attempt.number)})
    return None
