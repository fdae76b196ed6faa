"""A fault: what is done, to what, and which promises bend meanwhile."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.errors import ServiceError
from tests.faults import matrix
from tests.faults.fleet import BrokerKind

if TYPE_CHECKING:
    from tests.faults.matrix.scene import Scene

__all__ = ["FAULTS", "Fault", "fault", "load_faults"]

#: All faults, by name, in the order in which they were declared.
FAULTS: "dict[str, Fault]" = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way in which things go wrong while calls flow.

    Attributes:
        name: for people, and in the test's id.
        inflict: does it, and returns when it is over and everything is in place again.
        brokers: those on which it means something.
        quick: the brokers on which it is part of every test run; elsewhere it is run by `make faults`.
        workers, concurrency: of the fleet.
        rate: calls a second before, during and after it.
        deadline_s: of each call.
        apart, linked, append_only: of the fleet, see `Fleet`.
        own_broker: whether a RabbitMQ is started for it alone: it harms the server itself.
        catalogue: more services, as text of `gateway.toml`.
        app, environment: of the workers; `tests.servers.tuned_app` has times that can be shortened.
        errors: typed errors with which calls may end because of it.
        unknown: whether a call that may not be repeated may end as unknown because of it.
        unknown_below: paths that begin so may end as unknown, repeatable or not: it is they that do the harm.
        refuses: whether `submit` may raise `GatewayUnavailableError` because of it.
        attempts: how often a call that may be repeated may arrive at the service.
        recovers_s: a fresh call must succeed within so many seconds from its end.
        submit_s: bound of every `submit`.
        timeout_s: bound of the whole test.
    """

    name: str
    inflict: "Callable[[Scene], None]"
    brokers: tuple[BrokerKind, ...] = ("redis", "rabbitmq")
    quick: tuple[BrokerKind, ...] = ()
    workers: int = 2
    concurrency: int = 300
    rate: float = 40.0
    deadline_s: float = 45.0
    apart: bool = False
    linked: bool = False
    append_only: bool = False
    own_broker: bool = False
    catalogue: str = ""
    app: str = "workers.app"
    environment: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[type[ServiceError], ...] = ()
    unknown: bool = False
    unknown_below: str | None = None
    refuses: bool = False
    attempts: int = 3
    recovers_s: float = 30.0
    submit_s: float = 15.0
    timeout_s: float = 240.0


def fault(name: str, **what: Any) -> "Callable[[Callable[[Scene], None]], Callable[[Scene], None]]":
    """Declare a function as a fault; the arguments are the fields of `Fault`."""

    def declare(inflict: "Callable[[Scene], None]") -> "Callable[[Scene], None]":
        assert name not in FAULTS, f"two faults are named {name!r}"
        FAULTS[name] = Fault(name=name, inflict=inflict, **what)
        return inflict

    return declare


def load_faults() -> list[Fault]:
    """Import every family; all faults."""
    families = importlib.import_module(f"{matrix.__name__}.families")
    for module in pkgutil.iter_modules(families.__path__):
        importlib.import_module(f"{families.__name__}.{module.name}")
    return list(FAULTS.values())
