"""How a call will be treated: every value of its policy with where it comes from, and what follows from them. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.call import Call, GraphQLCall, GrpcCall, Protocol, RestCall, protocol_of
from gateway.catalogue import Catalogue
from gateway.collisions import backoff_bounds_s, collisions, worst_case_s
from gateway.errors import InvalidCallError
from gateway.policy import Policy
from gateway.service import Service

__all__ = ["ADMISSION_S", "LAYERS", "Resolution", "Setting", "parse_operation"]

#: What a call passes in a worker, outermost first: the layer, and the tables and values of the policy that it reads.
#: The admission asks the fleet for lease, breaker, limit, concurrency and budget, at once and before each attempt.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("deadline", ("deadline",)),
    ("retry", ("timeouts.total", "retry")),
    ("hedge", ("hedge",)),
    ("admission", ("breaker", "limit")),
    ("attempt", ("timeouts", "connections", "reply")),
)

#: How long each attempt waits in its worker at most for rate, places and budget, in seconds; then the call is parked.
ADMISSION_S = 0.25

_METHODS = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: A segment of a route that looks like a value: a number, a UUID or the like.
_VALUE = re.compile(r"\d+|[0-9a-fA-F-]{16,}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a policy.

    Attributes:
        layer: of `LAYERS`.
        key: such as `retry.attempts`.
        value: in seconds where it is a time.
        origin: where it is written: `built in`, or the table of the catalogue; or the option of the call.
    """

    layer: str
    key: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What is known of an operation's calls before one is made.

    Attributes:
        service, operation, protocol: what is asked.
        policy: its policy.
        settings: every value of it, in the order of the layers.
        deadline_s: seconds from submit until nobody waits any more.
        idempotent: whether it may be repeated; None: only a worker knows.
        why: who says so.
        visibility_s: when the broker takes a call for lost; None: never.
        notes: what is probably not meant so.
    """

    service: Service
    operation: str
    protocol: Protocol
    policy: Policy
    settings: tuple[Setting, ...]
    deadline_s: float
    idempotent: bool | None
    why: str
    visibility_s: float | None
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls, catalogue: Catalogue, call: Call, *, deadline_s: float, keyed: bool, visibility_s: float | None
    ) -> "Resolution":
        """Of a call that a producer would make.

        Args:
            catalogue: the services.
            call: the call; its payload has no part in it.
            deadline_s: as given to `submit`.
            keyed: whether it has an idempotency key.
            visibility_s: when the broker takes a call for lost; None: never.

        Raises:
            UnknownServiceError, InvalidCallError: as `Catalogue.service_for` has it.
        """
        service = catalogue.service_for(call)
        policy = service.policy_for(call)
        idempotent, why = _idempotence(service, call, keyed)
        return cls(
            service=service,
            operation=call.operation,
            protocol=protocol_of(call),
            policy=policy,
            settings=tuple(_settings(catalogue, service, call.operation, policy, deadline_s)),
            deadline_s=deadline_s,
            idempotent=idempotent,
            why=why,
            visibility_s=visibility_s,
            notes=tuple(_notes(service, call)),
        )

    @property
    def attempts_s(self) -> float:
        """Seconds that all attempts take together, with the longest waits before and between them.

        Without what nobody knows before: how long a service asks to be left alone, and how many probes of its breaker
        fail, which do not count as attempts.
        """
        return worst_case_s(self.policy) + self.admissions_s

    @property
    def backoffs_s(self) -> float:
        """Seconds of these that are waits between attempts."""
        return backoff_bounds_s(self.policy)

    @property
    def admissions_s(self) -> float:
        """Seconds of these that attempts wait to be let through."""
        return self.policy.retry.attempts * ADMISSION_S

    @property
    def worst_case_s(self) -> float:
        """Seconds in workers at most, from the first attempt to the outcome; without what the call is parked."""
        return min(self.deadline_s, self.policy.timeouts.total, self.attempts_s)

    @property
    def bounded_by(self) -> str:
        """What makes the worst case as short as it is."""
        if self.worst_case_s == self.attempts_s:
            return "the attempts themselves"
        return "timeouts.total" if self.worst_case_s == self.policy.timeouts.total else "the deadline"

    @property
    def collisions(self) -> tuple[str, ...]:
        """What cannot act together, see `gateway.collisions`."""
        return tuple(
            collisions(
                self.policy, deadline_s=self.deadline_s, visibility_s=self.visibility_s, idempotent=self.idempotent
            )
        )


def parse_operation(service: str, text: str) -> Call:
    """A call of an operation, by the operation's name: `GET /users/{user_id}`, `package.Service/Method`, `query Name`.

    Raises:
        InvalidCallError: it is no name of an operation.
    """
    first, _, rest = text.partition(" ")
    if first.upper() in _METHODS and rest:
        values = dict.fromkeys(_PARAMETER.findall(rest), "x")
        return RestCall(service, first, rest, path=values)
    if first in ("query", "mutation") and "{" not in text:
        return GraphQLCall(service, f"{text} {{ __typename }}")
    if "{" in text and not first.startswith("/"):
        return GraphQLCall(service, text)
    if "/" in text and " " not in text and not text.startswith("/"):
        return GrpcCall(service, text)
    raise InvalidCallError.because(
        "operation",
        f"{text!r} is no operation",
        "write 'GET /users/{user_id}', 'package.Service/Method' or 'query GetUser'",
    )


def _settings(
    catalogue: Catalogue, service: Service, operation: str, policy: Policy, deadline_s: float
) -> list[Setting]:
    special = service.operations.get(operation)
    layers: list[tuple[str, Mapping[str, Mapping[str, Any]]]] = [
        (f'[services.{service.name}.operations."{operation}"]', {} if special is None else special.tables()),
        (f"[services.{service.name}]", service.tables),
        ("[defaults]", catalogue.defaults),
    ]
    settings = []
    seen = set()
    for layer, places in LAYERS:
        for place in places:
            if place == "deadline":
                settings.append(Setting(layer, place, deadline_s, "the call"))
                continue
            section, _, only = place.partition(".")
            values = msgspec.structs.asdict(getattr(policy, section))
            for name, value in values.items():
                key = f"{section}.{name}"
                if key in seen or (only and name != only):
                    continue
                seen.add(key)
                origins = (origin for origin, tables in layers if name in tables.get(section, {}))
                settings.append(Setting(layer, key, value, next(origins, "built in")))
    return settings


def _idempotence(service: Service, call: Call, keyed: bool) -> tuple[bool | None, str]:
    if keyed:
        return True, "it has an idempotency key"
    said = service.idempotent(call)
    if said is not None:
        return said, "the catalogue says so"
    match call:
        case RestCall():
            return call.idempotent, f"{call.method} is{'' if call.idempotent else ' not'} (RFC 9110, section 9.2.2)"
        case GraphQLCall():
            return call.idempotent, "a query is" if call.idempotent else "a mutation is not"
        case GrpcCall():
            return None, "as its descriptor says (option idempotency_level), which a worker reads"


def _notes(service: Service, call: Call) -> list[str]:
    """A policy is looked up by the template that the producer passes, so a path with values in it finds none."""
    if not isinstance(call, RestCall) or call.operation in service.operations:
        return []
    for known in service.operations:
        method, _, route = known.partition(" ")
        pattern = "".join(
            "[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]*\})", route)
        )
        if method == call.method and "{" in route and re.fullmatch(pattern, call.route):
            return [f"policies go by the route's template, not by its path; did you mean {known!r}?"]
    if any(_VALUE.fullmatch(segment) for segment in call.route.split("/")):
        said = f"{call.route!r} looks like a path with its values in; write the template that the producer passes"
        return [f"{said}, such as '/users/{{user_id}}'"]
    return []
