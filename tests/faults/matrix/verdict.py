"""The ledger at the service against what producers were told."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import Delivery, OutcomeUnknownError
from tests.faults.fleet import BrokerKind
from tests.faults.matrix.fault import Fault
from tests.faults.matrix.made import Made
from tests.servers.ledger import Entry

__all__ = ["Row", "judge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of the calls of one fault on one broker.

    Attributes:
        fault, broker: what happened, and where.
        accepted: calls whose `submit` returned.
        refused: calls whose `submit` raised a typed error.
        replies: calls that ended with one.
        errors: how many ended with each typed error, beside unknown.
        unknown: how many ended as `OutcomeUnknownError`.
        lost: accepted calls without an outcome when their deadline and the margin had passed.
        twice: calls that may not be repeated, and arrived more than once.
        attempts: most arrivals of a call that may be repeated.
        recovery_s: from the fault's end to the first reply to a call submitted after it; None: there was none.
        submit_s: the longest that a `submit` took.
        took_s: of the whole.
        broken: the promises that were not kept; nothing if all were.
    """

    fault: str
    broker: BrokerKind
    accepted: int
    refused: int
    replies: int
    errors: Mapping[str, int]
    unknown: int
    lost: int
    twice: int
    attempts: int
    recovery_s: float | None
    submit_s: float
    took_s: float
    broken: tuple[str, ...]


def judge(
    fault: Fault,
    broker: BrokerKind,
    made: Sequence[Made],
    arrived: Mapping[str, Sequence[Entry]],
    *,
    over_at: float,
    took_s: float,
) -> Row:
    """Compare.

    Args:
        fault: says what may happen because of it.
        broker: on which it was inflicted.
        made: all calls, each ended.
        arrived: by path, what the service saw.
        over_at: when the fault was over, on the monotonic clock.
        took_s: of the whole.
    """
    accepted = [one for one in made if one.call_id is not None]
    refused = [one for one in made if one.refused is not None]
    replies = [one for one in accepted if one.replied]
    lost = [one for one in accepted if not one.replied and one.error is None]
    failed = [(one, one.error) for one in accepted if one.error is not None]
    unknown = [one for one, error in failed if isinstance(error, OutcomeUnknownError)]
    others = [(one, error) for one, error in failed if not isinstance(error, OutcomeUnknownError)]
    counts = {one.path: len(arrived.get(one.path, ())) for one in made}
    twice = [one for one in made if not one.repeatable and counts[one.path] > 1]
    attempts = max((counts[one.path] for one in made if one.repeatable), default=0)
    fresh = [one.ended - over_at for one in replies if one.submitted >= over_at]
    recovery_s = min(fresh, default=None)
    submit_s = max((one.submit_s for one in made), default=0.0)
    broken: list[str] = []

    def must_not(what: str, those: Sequence[Made]) -> None:
        if those:
            named = "; ".join(f"{one.kind} {one.path} {_told(one)}" for one in those[:3])
            broken.append(f"{len(those)} {what}: {named}")

    must_not("lost", lost)
    must_not("not repeatable and sent twice", twice)
    must_not("repeatable and sent too often", [o for o in made if o.repeatable and counts[o.path] > fault.attempts])
    must_not("replied and never arrived", [one for one in replies if not counts[one.path]])
    innocent = [one for one in unknown if fault.unknown_below is None or not one.path.startswith(fault.unknown_below)]
    must_not("repeatable and unknown", [one for one in innocent if one.repeatable])
    must_not(
        "told as not sent, and arrived",
        [one for one, error in others if error.delivery is Delivery.NOT_SENT and counts[one.path]],
    )
    must_not(
        "refused as not enqueued, and arrived",
        [o for o in refused if o.refused is not None and o.refused.delivery is Delivery.NOT_SENT and counts[o.path]],
    )
    must_not("ended with an error for no reason", [o for o, error in others if not isinstance(error, fault.errors)])
    if not fault.unknown:
        must_not("unknown for no reason", [one for one in innocent if not one.repeatable])
    if not fault.refuses:
        must_not("refused for no reason", refused)
    if recovery_s is None or recovery_s > fault.recovers_s:
        broken.append(f"recovery took {recovery_s} s of {fault.recovers_s:g}")
    if submit_s > fault.submit_s:
        broken.append(f"a submit took {submit_s:.1f} s of {fault.submit_s:g}")
    if not replies:
        broken.append("nothing was replied to at all")
    return Row(
        fault=fault.name,
        broker=broker,
        accepted=len(accepted),
        refused=len(refused),
        replies=len(replies),
        errors=Counter(type(error).__name__ for _, error in others),
        unknown=len(unknown),
        lost=len(lost),
        twice=len(twice),
        attempts=attempts,
        recovery_s=recovery_s,
        submit_s=submit_s,
        took_s=took_s,
        broken=tuple(broken),
    )


def _told(one: Made) -> str:
    error = one.refused or one.error
    told = "" if error is None else f"({type(error).__name__}: {error}) "
    return f"{told}[{one.call_id}]"
