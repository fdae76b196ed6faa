"""What `gateway top` shows of a service, and of a worker."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from gateway.catalogue import Catalogue
from gateway.cli.fleet_watch import Seen
from gateway.cli.glance import PHASE_COLOURS, breaker_words, seconds, state_json
from gateway.fleet_view import FleetView
from gateway.pace import Pace
from gateway.policy import Policy
from gateway.worker_control import WorkerSeen

__all__ = [
    "SERVICE_COLUMNS",
    "WORKER_COLUMNS",
    "service_row",
    "snapshot_json",
    "snapshot_table",
    "urgency",
    "worker_row",
]

SERVICE_COLUMNS = (
    "service",
    "breaker",
    "calls/s",
    "errors",
    "p99",
    "in flight",
    "queued",
    "oldest",
    "parked",
    "retries",
    "rate",
)
WORKER_COLUMNS = ("worker", "pid", "in flight")
#: More seconds than this in a queue are shown in red, and so are fewer retries than this, and more errors.
_LONG_S, _FEW_RETRIES, _MANY_ERRORS = 10.0, 1.0, 0.05


def service_row(name: str, seen: Seen, policy: Policy) -> tuple[str, ...]:
    """Its cells, as Rich markup."""
    view = _view(seen)
    state = view.states[name]
    colour = "magenta" if state.pause else PHASE_COLOURS.get(state.breaker.phase, "red")
    most = state.limit.concurrency(policy.limit)
    in_flight = f"{state.limit.in_flight}/{most}"
    queued, oldest = view.queued.get(name), view.oldest_s.get(name)
    retries = state.budget.tokens_at(state.now, policy.retry)
    blocked = f" [red]blocked {seconds(state.blocked_s)}[/]" if state.blocked_s else ""
    return (
        f"[bold]{escape(name)}[/]",
        f"[{colour}]{escape(breaker_words(state, policy))}[/]",
        *_pace_cells(seen.pace.get(name)),
        f"[yellow]{in_flight}[/]" if state.limit.in_flight >= most else in_flight,
        "?" if queued is None else str(queued),
        "?"
        if oldest is None
        else f"[red]{seconds(oldest)}[/]"
        if oldest > _LONG_S
        else seconds(oldest)
        if queued
        else "",
        f"[yellow]{state.parked}[/]" if state.parked else "0",
        f"[red]{retries:.0f}[/]" if retries < _FEW_RETRIES else f"{retries:.0f}",
        f"{policy.limit.rate or ''}{blocked}",
    )


def _pace_cells(pace: Pace | None) -> tuple[str, str, str]:
    if pace is None:
        return "", "", ""
    errors = f"{pace.failed:.0%}" if pace.failed in (0, 1) or pace.failed >= 0.1 else f"{pace.failed:.1%}"
    return (
        f"{pace.per_s:.1f}" if pace.per_s < 10 else f"{pace.per_s:.0f}",
        f"[red]{errors}[/]" if pace.failed > _MANY_ERRORS else errors,
        f"{pace.p99_s * 1000:.0f} ms" if pace.p99_s < 1 else f"{pace.p99_s:.1f} s",
    )


def urgency(name: str, view: FleetView) -> tuple[int, int, int]:
    """For sorting: what needs somebody comes first."""
    state = view.states[name]
    phases = {"open": 0, "half-open": 1}
    first = 0 if state.pause else phases.get(state.breaker.phase, 2)
    return first, -state.parked, -view.queued.get(name, 0)


def worker_row(worker: WorkerSeen) -> tuple[str, ...]:
    """Its cells, as Rich markup."""
    return escape(worker.name), str(worker.pid), f"{worker.in_flight}/{worker.places}"


def snapshot_table(seen: Seen, catalogue: Catalogue) -> Group:
    """Services and workers, once."""
    assert seen.view is not None  # noqa: S101 - the caller has looked
    services = Table(*SERVICE_COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False)
    for name in sorted(catalogue.services, key=lambda name: (urgency(name, _view(seen)), name)):
        services.add_row(*service_row(name, seen, catalogue.services[name].policy))
    workers = Table(*WORKER_COLUMNS, box=box.SIMPLE_HEAD, pad_edge=False)
    for worker in seen.workers.values():
        workers.add_row(*worker_row(worker))
    return Group(services, workers, f"dead letters: {seen.view.dead}")


def snapshot_json(seen: Seen, catalogue: Catalogue) -> str:
    """The same for programs."""
    view = _view(seen)
    services: Mapping[str, object] = {
        name: {
            **state_json(view.states[name], catalogue.services[name].policy),
            "queued": view.queued.get(name),
            "queue_oldest_s": view.oldest_s.get(name),
            "pace": asdict(seen.pace[name]) if name in seen.pace else None,
        }
        for name in catalogue.services
    }
    workers = {worker.name: asdict(worker) for worker in seen.workers.values()}
    return json.dumps({"services": services, "workers": workers, "dead_letters": view.dead}, indent=2)


def _view(seen: Seen) -> FleetView:
    assert seen.view is not None  # noqa: S101 - the caller has looked
    return seen.view
