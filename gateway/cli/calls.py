"""`gateway calls`: what became of the latest calls, and one call through its attempts."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import click
import msgspec
from rich.console import Console

from gateway.broker import close_app, make_app
from gateway.cli.calls_view import by_call, call_tree, entry_json, entry_line, history_table, now_text
from gateway.cli.glance import one_line
from gateway.cli.since import Since
from gateway.clock import FleetClock
from gateway.errors import GatewayUnavailableError
from gateway.history import History, HistoryEntry, Wanted
from gateway.records import CallState
from gateway.redis_client import ERRORS
from gateway.results import Results
from gateway.settings import Settings, SettingsError

__all__ = ["calls"]

#: Entries of the calls that were named.
_MOST_OF_ONE = 1000
#: Events after which there is nothing to follow, and states before it.
_LAST = ("reply", "error", "refused")
_GOES_ON = (CallState.PENDING, CallState.RUNNING, CallState.PARKED)
_EMPTY = "the history is empty: no call has ended yet, or all workers run with GATEWAY_HISTORY=off"


@click.command()
@click.option("--correlation-id", default=None, help="Follow the calls with this correlation id.")
@click.option("--call-id", default=None, help="Follow this call, also while it waits or runs.")
@click.option("--service", default=None, help="Only calls of this service.")
@click.option("--operation", default=None, help="Only this operation, such as 'GET /users/{user_id}'.")
@click.option("--caller", default=None, help="Only calls of this caller.")
@click.option("--error", default=None, help="Only what ended with this error, such as ServiceTimeoutError.")
@click.option("--since", type=Since(), default=None, help="Only what ended so long ago at most: 90s, 30m, 6h, 2d.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=30, show_default=True, help="How many to list.")
@click.option("--follow", is_flag=True, help="Go on with those that come, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with --follow one object a line.")
def calls(
    correlation_id: str | None,
    call_id: str | None,
    service: str | None,
    operation: str | None,
    caller: str | None,
    error: str | None,
    since: float | None,
    limit: int,
    follow: bool,
    as_json: bool,
) -> None:
    """List what became of the latest calls of all workers, or follow one through its attempts.

    The history has a bounded number of entries (GATEWAY_HISTORY, 20,000 by default) and nothing of any payload.
    """
    for option, given in (("--correlation-id", correlation_id), ("--call-id", call_id)):
        if given is not None and not given.strip():
            raise click.BadParameter("it is empty; write the id", param_hint=option)
    with _history() as (history, results):
        now, newest = history.now(), history.newest()
        wanted = Wanted(
            correlation_id=correlation_id,
            call_id=call_id,
            service=service,
            operation=operation,
            caller=caller,
            error=error,
            since=None if since is None else now - since,
        )
        is_named = bool(correlation_id or call_id)
        found = history.latest(wanted, _MOST_OF_ONE if is_named else limit)
        if is_named:
            if not (as_json and follow):
                _show_calls(history, results, found, call_id, as_json)
        elif as_json and not follow:
            click.echo(json.dumps([entry_json(entry) for entry in found], indent=2, ensure_ascii=False))
        elif found and not follow:
            Console(highlight=False).print(history_table(found, now))
        elif not follow:
            click.echo(f"None of the latest {length} entries is such a one." if (length := len(history)) else _EMPTY)
        if follow:
            _follow(history, wanted, newest, as_json, found if is_named else ())


def _show_calls(
    history: History, results: Results, found: list[HistoryEntry], call_id: str | None, as_json: bool
) -> None:
    grouped = dict(by_call(found))
    if call_id is not None:
        grouped.setdefault(call_id, [])
    now = history.now()
    states = {each: results.state(each) for each in grouped}
    present = {
        each: history.whereabouts(each, states[each], now)
        for each, entries in grouped.items()
        if states[each] in _GOES_ON and not (entries and entries[-1].event in _LAST)
    }
    if as_json:
        document = {
            each: {"state": str(states[each])}
            | ({"now": msgspec.to_builtins(present[each])} if each in present else {})
            | {"history": [entry_json(entry) for entry in entries]}
            for each, entries in grouped.items()
        }
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    for each, entries in grouped.items():
        state = states[each]
        text = now_text(state, present[each], now) if each in present else str(state)
        if entries:
            console.print(call_tree(entries, None if entries[-1].event in _LAST else text))
        elif each in present:
            console.print(f"call {each}: {text}", markup=False, soft_wrap=True)
        elif state is not CallState.UNKNOWN:
            console.print(f"call {each}: {state}; what it came to is not in the history (any more)", markup=False)
        else:
            raise _no_such_call(history)
    if not grouped:
        raise _no_such_call(history)


def _no_such_call(history: History) -> click.ClickException:
    if not (length := len(history)):
        return click.ClickException(f"no such call: {_EMPTY}")
    return click.ClickException(
        f"no such call among the latest {length} entries; one that waits in its queue or runs is found by --call-id"
    )


def _follow(history: History, wanted: Wanted, after: bytes, as_json: bool, before: Sequence[HistoryEntry]) -> None:
    """Print entries as they come; of JSON also those of a call that was named `before`, in the same form."""
    console = Console(highlight=False)
    try:
        for entry in chain(before if as_json else (), history.follow(wanted, after)):
            if entry is None:
                continue
            if as_json:
                click.echo(json.dumps(entry_json(entry), ensure_ascii=False))
            else:
                console.print(entry_line(entry), soft_wrap=True)
    except KeyboardInterrupt:
        return


@contextmanager
def _history() -> Iterator[tuple[History, Results]]:
    try:
        settings = Settings.from_env()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    celery = make_app(settings)
    results = Results(celery, settings.result_url, FleetClock())
    try:
        with History.open(settings.result_url) as history:
            yield history, results
    except ERRORS as error:
        raise click.ClickException(
            f"the result store does not answer ({one_line(str(error))}); start it, or correct GATEWAY_RESULT_URL"
        ) from None
    except GatewayUnavailableError as error:
        raise click.ClickException(error.message) from None
    finally:
        results.close()
        close_app(celery)
