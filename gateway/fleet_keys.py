"""What the fleet shares in Redis: the names, and what is in them. All times are Unix seconds of that Redis's clock.

One service has these keys. A missing key or field means nothing of the kind ever happened.

| key | type | what |
|---|---|---|
| `gateway:breaker:<service>` | hash | `phase` (`closed`, `open`, `half-open`), `epoch` (a number that grows with each \
change), `until` (when an open one lets probes through; `inf`: opened by hand), `opened_at`, `closed_at`, `successes` \
(of probes, in this epoch), `granted` (probes let through in this epoch), `reason`, `by` (the worker, or who did it by \
hand), `trips` |
| `gateway:paused:<service>` | hash | `until` (when calls may go on; `inf`: when somebody resumes it; past: it was \
resumed then), `at`, `by`, `reason`; kept for an hour beyond the pause, while parked calls come back |
| `gateway:probes:<service>` | sorted set | probes on the wire, `<call id>#<attempt>`, by when they count as dead |
| `gateway:limit:<service>` | hash | `tat` (the rate's theoretical arrival time, as GCRA has it), `blocked_until` and \
`penalty_s` (what was learned from the service's own limit), `adaptive` (the concurrency found from latency), \
`adjusted_at` |
| `gateway:inflight:<service>` | sorted set | attempts on the wire, `<call id>#<attempt>`, by when they count as dead |
| `gateway:budget:<service>` | hash | `tokens` (retries that may be made, negative once some are promised), `at` |
| `gateway:parked:<service>` | sorted set | ids of parked calls, by when they may go on; what waits for a gate is due \
since it was parked, and its turn comes when the gate opens |
| `gateway:parked-deadlines:<service>` | sorted set | the same ids, by deadline |
| `gateway:parked-messages:<service>` | hash | their messages, JSON, by id |
| `gateway:ramp:<service>` | hash | how calls are let out of parking: `tokens`, `at`, `tat`, `released`, \
`released_at`; kept for an hour beyond its use |

`gateway:suspect` names the attempt, `<call id>#<attempt>`, that goes alone of the calls which ended workers; it
expires.

`gateway:rejected` is a hash of calls that the gateway itself refused, by `<caller> <reason>`; `-` is a caller that the
catalogue does not have. `gateway:signed:<jti>` is the id of the call that came first with a signature that is good for
one; it expires.

`gateway:owed:<call id>` says that the call's outcome was stored before what follows it (callbacks, the next step of a
chain) could be enqueued; it goes when that is done.

`gateway:history` is the stream of what became of the latest calls, see `gateway.history`.

`gateway:services` is a set of the names of all services that have any of these. The record of a call is described in
`gateway.records`, the key of an idempotency key in `gateway.idempotency`.
"""

__all__ = [
    "SERVICES",
    "breaker",
    "budget",
    "inflight",
    "limit",
    "owed",
    "parked",
    "parked_deadlines",
    "parked_messages",
    "paused",
    "probes",
    "ramp",
]

SERVICES = "gateway:services"


def breaker(service: str) -> str:
    """Hash: the breaker's state."""
    return f"gateway:breaker:{service}"


def paused(service: str) -> str:
    """Hash: the pause."""
    return f"gateway:paused:{service}"


def probes(service: str) -> str:
    """Sorted set: probes on the wire."""
    return f"gateway:probes:{service}"


def limit(service: str) -> str:
    """Hash: rate, learned block and adaptive concurrency."""
    return f"gateway:limit:{service}"


def inflight(service: str) -> str:
    """Sorted set: attempts on the wire."""
    return f"gateway:inflight:{service}"


def budget(service: str) -> str:
    """Hash: the retry budget."""
    return f"gateway:budget:{service}"


def owed(call_id: str) -> str:
    """Says that what follows a call is not enqueued yet."""
    return f"gateway:owed:{call_id}"


def parked(service: str) -> str:
    """Sorted set: parked calls by when they are due."""
    return f"gateway:parked:{service}"


def parked_deadlines(service: str) -> str:
    """Sorted set: parked calls by deadline."""
    return f"gateway:parked-deadlines:{service}"


def parked_messages(service: str) -> str:
    """Hash: messages of parked calls."""
    return f"gateway:parked-messages:{service}"


def ramp(service: str) -> str:
    """Hash: how fast parked calls are let out."""
    return f"gateway:ramp:{service}"
