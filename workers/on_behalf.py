"""What a producer sealed for the workers: opened for one attempt, and kept nowhere."""

from collections.abc import Mapping, Set

from gateway.errors import CallRejectedError, Delivery
from gateway.outcome import Failure
from gateway.sealing import Unsealer
from workers.execution import Execution

__all__ = ["on_behalf"]


def on_behalf(execution: Execution, unsealer: Unsealer, taken: Set[str]) -> Mapping[str, str] | Failure:
    """The headers that are sealed in a call.

    Args:
        execution: the call.
        unsealer: has the keys.
        taken: names of headers that the gateway sets.

    Returns:
        A failure that was not sent if they cannot be had, are for another call, or are in the way of the gateway's own.
    """
    envelope = execution.envelope
    if envelope.sealed is None:
        return {}
    try:
        found = unsealer.open(envelope.sealed, envelope.call, envelope.caller).headers
    except ValueError as problem:
        return _refused(str(problem))
    if both := sorted(found.keys() & taken):
        return _refused(f"sealed.{both[0]} is set by the gateway itself for {execution.service.name}; use another name")
    return found


def _refused(why: str) -> Failure:
    return Failure(
        error=CallRejectedError,
        message=f"the call was rejected: {why}",
        delivery=Delivery.NOT_SENT,
        details={"reason": "sealed"},
        repeatable=False,
    )
