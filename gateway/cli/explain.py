"""`gateway explain`: how a call will be treated, where that is written, and how things stand now."""

import json
import os
import sys
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gateway.allowance import Allowance
from gateway.catalogue import CatalogueError
from gateway.cli.glance import (
    PHASE_COLOURS,
    Glance,
    breaker_words,
    counted,
    one_line,
    open_catalogue,
    seconds,
    state_json,
)
from gateway.envelope import DEFAULT_DEADLINE_S, MAX_DEADLINE_S
from gateway.errors import InvalidCallError, UnknownServiceError
from gateway.fleet_state import ServiceState
from gateway.policy import Policy
from gateway.resolution import LAYERS, Resolution, Setting, parse_operation
from gateway.settings import Settings, SettingsError
from gateway.visibility import visibility_timeout_s

__all__ = ["explain"]

#: Which layers do what their names do not say.
_DOES = {
    "retry": "repeats what failed and may be repeated",
    "hedge": "starts a second attempt beside a slow one",
    "admission": "asks the fleet for lease, breaker, limit, concurrency, budget",
}
#: By such an answer the service says that it did nothing.
_DID_NOTHING = "one of retry.refused or a 503 with Retry-After"
_REPEATED = {
    True: f"what was not sent, may have been sent, or was answered by one of retry.statuses, {_DID_NOTHING}",
    False: f"what was not sent, or was answered by {_DID_NOTHING}",
    None: f"what was not sent, or was answered by {_DID_NOTHING}; if idempotent, also what may have been sent, or was"
    " answered by one of retry.statuses",
}
_KEY_WIDTH, _VALUE_WIDTH = 27, 20


@click.command()
@click.argument("service")
@click.argument("operation", nargs=-1, required=True)
@click.option(
    "--config", type=click.Path(dir_okay=False), default=None, help="The catalogue; GATEWAY_CONFIG by default."
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, MAX_DEADLINE_S, min_open=True),
    default=DEFAULT_DEADLINE_S,
    show_default=True,
    help="Seconds, as given to submit.",
)
@click.option("--keyed", is_flag=True, help="The call has an idempotency key.")
@click.option("--caller", help="Who would call: say whether it may, and by which line.")
@click.option("--strict", is_flag=True, help="Exit with 1 if values collide, or the caller may not call.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain(
    service: str,
    operation: tuple[str, ...],
    config: str | None,
    deadline: float,
    keyed: bool,
    caller: str | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Show the policy of a call, where each value is written, and the state of its service now.

    \b
    gateway explain user-service GET '/users/{user_id}'
    gateway explain user-service goodgo.user.v1.UserService/GetUser
    gateway explain user-service query GetUser

    The route is the template that the producer passes, not a path with values in it.
    """
    try:
        catalogue = open_catalogue(config or os.environ.get("GATEWAY_CONFIG") or "gateway.toml")
    except CatalogueError as error:
        raise click.ClickException(str(error)) from None
    try:
        resolution = Resolution.of(
            catalogue,
            parse_operation(service, " ".join(operation)),
            deadline_s=deadline,
            keyed=keyed,
            visibility_s=None if _broker_is_amqp() else visibility_timeout_s(catalogue.services.values()),
        )
    except (InvalidCallError, UnknownServiceError) as error:
        raise click.UsageError(str(error)) from None
    allowance = None if caller is None else Allowance.of(catalogue, caller, resolution)
    glance = Glance.at([service])
    if as_json:
        shown = _json(resolution, glance) | ({} if allowance is None else {"caller": allowance.to_json()})
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        _print(resolution, glance, allowance)
    sys.exit(strict and bool(resolution.collisions or (allowance and not allowance.allowed)))


def _broker_is_amqp() -> bool:
    """RabbitMQ takes a call for lost when its worker's connection ends, and never by time."""
    try:
        return Settings.from_env().broker_is_amqp
    except SettingsError:
        return False


def _json(resolution: Resolution, glance: Glance) -> dict[str, Any]:
    state = glance.states.get(resolution.service.name)
    return {
        "service": resolution.service.name,
        "operation": resolution.operation,
        "protocol": resolution.protocol,
        "idempotent": resolution.idempotent,
        "idempotent_because": resolution.why,
        "layers": [layer for layer, _ in LAYERS],
        "settings": [
            {"layer": setting.layer, "key": setting.key, "value": setting.value, "from": setting.origin}
            for setting in resolution.settings
        ],
        "worst_case_s": {
            "attempts": resolution.attempts_s,
            "of_them_backoffs": resolution.backoffs_s,
            "of_them_admissions": resolution.admissions_s,
            "in_workers": resolution.worst_case_s,
            "bounded_by": resolution.bounded_by,
            "with_parking": resolution.deadline_s,
        },
        "state": None if state is None else state_json(state, resolution.policy),
        "state_unknown": glance.unknown or None,
        "collisions": list(resolution.collisions),
        "notes": list(resolution.notes),
    }


def _print(resolution: Resolution, glance: Glance, allowance: Allowance | None) -> None:
    console = Console(highlight=False)
    answer = {True: "[green]idempotent[/]", False: "[yellow]not idempotent[/]", None: "idempotent or not"}
    console.print(f"[bold]{escape(resolution.service.name)} {escape(resolution.operation)}[/]")
    if allowance is not None:
        colour = "green" if allowance.allowed else "red"
        console.print(f"caller {escape(allowance.caller)}: [{colour}]{escape(allowance.words)}[/]")
    console.print(f"{resolution.protocol}, {answer[resolution.idempotent]}: {escape(resolution.why)}")
    console.print(f"repeated: {_REPEATED[resolution.idempotent]}")
    for note in resolution.notes:
        console.print(f"[yellow]note:[/] {escape(note)}")
    for number, (layer, _) in enumerate(LAYERS, 1):
        console.print(f"\n[bold]{number} {layer}[/]  [dim]{_DOES.get(layer, '')}[/]")
        console.print(_settings([setting for setting in resolution.settings if setting.layer == layer]))
    console.print("\n[bold]worst case[/]")
    console.print(_rows(_worst_case(resolution)))
    console.print("\n[bold]now[/]")
    state = glance.states.get(resolution.service.name)
    if state is None:
        console.print(f"  state unknown: {escape(glance.unknown)}")
    else:
        console.print(_rows(_state(state, resolution.policy)))
    console.print()
    for collision in resolution.collisions:
        console.print(f"[yellow]collision:[/] {escape(collision)}")
    if not resolution.collisions:
        console.print("[green]No value collides with another.[/]")


def _settings(settings: list[Setting]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=_KEY_WIDTH, no_wrap=True)
    table.add_column(width=_VALUE_WIDTH, overflow="fold")
    table.add_column(overflow="fold")
    for setting in settings:
        origin = escape(setting.origin)
        table.add_row(
            f"  {setting.key}",
            escape(_value(setting.key, setting.value)),
            f"[dim]{origin}[/]" if setting.origin == "built in" else origin,
        )
    return table


def _rows(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=14, no_wrap=True)
    table.add_column(overflow="fold")
    for name, said in rows:
        table.add_row(f"  {name}", said)
    return table


#: Keys whose value is in seconds, beside all of `timeouts`.
_TIMES = (
    *("deadline", "retry.backoff", "retry.max_backoff", "breaker.reset_timeout", "breaker.window"),
    *("breaker.slow_call", "hedge.after", "connections.keepalive"),
)
#: What no value means, where it is not "off".
_UNSET = {"timeouts.read": "as attempt", "breaker.probes": "as many as must succeed", "limit.rate": "no limit"}


def _value(key: str, value: Any) -> str:
    if value is None:
        return _UNSET.get(key, "off")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in _TIMES or key.startswith("timeouts."):
        return f"{value:g} s"
    if isinstance(value, tuple | list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _worst_case(resolution: Resolution) -> list[tuple[str, str]]:
    attempts, attempt = resolution.policy.retry.attempts, resolution.policy.timeouts.attempt
    parts = [f"{attempts} of {attempt:g} s", f"waits for their admission of {resolution.admissions_s:g} s"]
    if attempts > 1:
        parts.insert(1, f"backoffs of {resolution.backoffs_s:g} s")
    together = f"{', '.join(parts[:-1])} and {parts[-1]}: {resolution.attempts_s:g} s"
    if attempts > 1:
        together += "; longer if the service asks for it by Retry-After, or while probes fail, which do not count"
    return [
        ("attempts", together),
        ("in workers", f"{resolution.worst_case_s:g} s, bounded by {resolution.bounded_by}"),
        ("with parking", f"{resolution.deadline_s:g} s: what waits outside the workers waits until the deadline"),
    ]


def _state(state: ServiceState, policy: Policy) -> list[tuple[str, str]]:
    breaker, limit = state.breaker, state.limit
    colour = PHASE_COLOURS.get(breaker.phase, "red")
    why = ", ".join(one_line(said) for said in (breaker.reason, breaker.by) if said)
    gate = f"[{colour}]{escape(breaker_words(state, policy))}[/]"
    if why:
        gate += f" ({'last: ' if breaker.phase == 'closed' else ''}{escape(why)})"
    if breaker.trips:
        gate += f", opened {counted(breaker.trips, 'time')}"
    rate = policy.limit.rate or "no limit"
    next_in = limit.next_in_s(state.now, policy.limit)
    if next_in:
        rate += f", the next in {seconds(next_in)}"
    if state.blocked_s:
        rate += f", [red]blocked for {seconds(state.blocked_s)}[/] as the service asked"
    concurrency = limit.concurrency(policy.limit)
    most = f" (found from latency; {policy.limit.concurrency} at most)" if policy.limit.adaptive else ""
    due = "" if state.due_at is None else f", the first due {_due(state.due_at - state.now)}"
    return [
        ("breaker", gate),
        ("rate", rate),
        ("in flight", f"{limit.in_flight} of {concurrency}{most}"),
        ("retry budget", f"{state.budget.tokens_at(state.now, policy.retry):.1f} retries"),
        ("parked", f"{counted(state.parked, 'call')}{due}"),
    ]


def _due(left: float) -> str:
    return f"in {seconds(left)}" if left > 0 else "when its gate opens"
