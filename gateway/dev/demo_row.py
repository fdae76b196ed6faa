"""What came of one call of the demo, and whether that was expected."""

from dataclasses import asdict, dataclass
from typing import Any

from gateway.dev.demo_case import Case
from gateway.errors import ServiceError
from gateway.reply import Reply

__all__ = ["Row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A line of the demo's table.

    Attributes:
        title, protocol: of the call.
        outcome: `reply`, or the name of the error's class.
        said: one line about it.
        status: as the service answered; None if it did not.
        attempts: requests on the wire.
        elapsed_s: from `submit` until the outcome was here.
        correlation_id: of the call; None where nothing was enqueued.
        expected: whether this is what should have come.
    """

    title: str
    protocol: str
    outcome: str
    said: str
    status: int | str | None
    attempts: int
    elapsed_s: float
    correlation_id: str | None
    expected: bool

    @classmethod
    def of(cls, case: Case, outcome: Reply | BaseException, elapsed_s: float, correlation_id: str | None) -> "Row":
        """The row of a case's outcome."""
        status, attempts, said = None, 0, ""
        if isinstance(outcome, Reply):
            status, attempts = outcome.status, outcome.attempts
            expected = case.outcome is None and status == case.status and _holds(case, outcome)
        elif isinstance(outcome, ServiceError):
            status, attempts, said = outcome.status, outcome.attempts, outcome.message
            expected = type(outcome) is case.outcome and status == case.status and case.error(outcome)
        else:
            expected, said = False, str(outcome)
        # An id that does not come back is a fault of the demo's subject too.
        if isinstance(outcome, Reply | ServiceError) and attempts and outcome.correlation_id != correlation_id:
            expected = False
        return cls(
            title=case.title,
            protocol=case.protocol,
            outcome="reply" if isinstance(outcome, Reply) else type(outcome).__name__,
            said=said,
            status=status,
            attempts=attempts,
            elapsed_s=elapsed_s,
            correlation_id=correlation_id,
            expected=expected,
        )

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def _holds(case: Case, reply: Reply) -> bool:
    try:
        return case.data(reply)
    except (LookupError, TypeError):  # the reply has another shape than the case looks into
        return False
