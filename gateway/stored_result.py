"""What the result backend holds for a call, read once: whether it is an outcome, and which."""

from collections.abc import Mapping
from typing import Any

from celery.states import FAILURE, READY_STATES, RETRY, REVOKED, STARTED, SUCCESS

from gateway.errors import (
    CallCancelledError,
    DeadlineExceededError,
    Delivery,
    GatewayFaultError,
    ServiceError,
    ServiceTimeoutError,
)
from gateway.records import CallState
from gateway.reply import Reply

__all__ = ["StoredResult"]

#: How Celery's JSON of an outcome begins; spares reading a large one only to learn that it is one.
_FINAL = tuple(f'{{"status": "{status}"'.encode() for status in sorted(READY_STATES))
#: Celery's own time limits, wherever their class was defined.
_TIME_LIMITS = ("SoftTimeLimitExceeded", "TimeLimitExceeded")
#: The task was never run.
_NEVER_RUN = ("NotRegistered", "Reject", "Ignore")


class StoredResult:
    """A stored payload.

    Args:
        payload: as the result backend stored it.
        backend: decodes it.
        call_id: for the errors.
    """

    def __init__(self, payload: bytes, backend: Any, call_id: str | None = None) -> None:
        self._backend = backend
        self._call_id = call_id
        try:
            meta = backend.decode(payload)
        except Exception as error:
            meta = error
        # What cannot be read is final: nothing else will come.
        is_read = isinstance(meta, Mapping) and isinstance(meta.get("status"), str)
        self._meta: Mapping[str, Any] = meta if is_read else {"status": FAILURE, "result": meta}

    @staticmethod
    def is_final(payload: bytes, backend: Any) -> bool:
        """Whether a payload is an outcome, and not a note on the way to one, such as STARTED or RETRY."""
        return payload.startswith(_FINAL) or StoredResult(payload, backend).state in (
            CallState.DONE,
            CallState.CANCELLED,
        )

    @property
    def state(self) -> CallState:
        """Where the call is, as far as this result tells."""
        status, name = self._meta.get("status"), self._exception_name
        if status == REVOKED:
            return CallState.DONE if self._is_expired else CallState.CANCELLED
        if status == FAILURE and name == CallCancelledError.__name__:
            return CallState.CANCELLED
        if status in READY_STATES:
            return CallState.DONE
        return CallState.RUNNING if status in (STARTED, RETRY) else CallState.PENDING

    def reply(self) -> Reply:
        """The reply that was stored.

        Raises:
            ServiceError: the error that was stored, or what stands for an error that is none of ours.
        """
        if self._meta.get("status") != SUCCESS:
            error = self._error()
            cause = error.__cause__
            raise error from cause
        try:
            return Reply.from_wire(self._meta["result"])
        except Exception as error:
            raise GatewayFaultError(
                f"what is stored for call {self._call_id} is not a reply ({type(error).__name__}: {error}); was it"
                f" another task than a call?",
                delivery=Delivery.MAYBE_SENT,
                call_id=self._call_id,
            ) from error

    @property
    def _exception_name(self) -> str:
        result = self._meta.get("result")
        return str(result.get("exc_type")) if isinstance(result, Mapping) else type(result).__name__

    @property
    def _is_expired(self) -> bool:
        result = self._meta.get("result")
        said = result.get("exc_message") if isinstance(result, Mapping) else None
        return "expired" in (said if isinstance(said, list | tuple) else [said])

    def _error(self) -> ServiceError:
        if self._meta.get("status") == REVOKED:
            return self._revocation()
        try:
            error: Any = self._backend.exception_to_python(self._meta.get("result"))
        except Exception as defect:
            error = defect
        if isinstance(error, ServiceError):
            return error
        name = self._exception_name
        made: ServiceError
        if name in _TIME_LIMITS:
            made = ServiceTimeoutError(
                f"the worker's time limit ended the call ({name})",
                delivery=Delivery.MAYBE_SENT,
                phase="total",
                call_id=self._call_id,
            )
        else:
            made = GatewayFaultError(
                f"the worker ended with an error that is not a call's ({name}: {error})",
                delivery=Delivery.NOT_SENT if name in _NEVER_RUN else Delivery.MAYBE_SENT,
                call_id=self._call_id,
            )
        made.__cause__ = error if isinstance(error, Exception) else None
        return made

    def _revocation(self) -> ServiceError:
        if self._is_expired:
            return DeadlineExceededError(
                "the call expired in the queue", delivery=Delivery.NOT_SENT, call_id=self._call_id
            )
        return CallCancelledError("the call was cancelled", delivery=Delivery.MAYBE_SENT, call_id=self._call_id)
