"""Calls of the history, as tables and as one call's life."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import msgspec
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from gateway.cli.glance import seconds
from gateway.history import HistoryEntry
from gateway.records import CallState
from gateway.whereabouts import Whereabouts

__all__ = ["by_call", "call_tree", "entry_json", "entry_line", "history_table", "now_text"]

_COLOURS = {"reply": "green", "error": "red", "parked": "yellow", "refused": "red", "dropped": "dim"}


def by_call(entries: Sequence[HistoryEntry]) -> list[tuple[str, list[HistoryEntry]]]:
    """The entries of each call, in the order of the calls' first ones."""
    order = {entry.call_id: place for place, entry in reversed(list(enumerate(entries)))}
    ordered = sorted(entries, key=lambda entry: (order[entry.call_id], entry.at))
    return [(call_id, list(found)) for call_id, found in groupby(ordered, key=lambda entry: entry.call_id)]


def entry_json(entry: HistoryEntry) -> dict[str, Any]:
    """All of it."""
    found: dict[str, Any] = msgspec.to_builtins(entry)
    return found


def outcome(entry: HistoryEntry) -> str:
    """One word or two, in colour."""
    colour = _COLOURS.get(entry.event, "white")
    if entry.event == "reply":
        text = str(entry.status)
    elif entry.event in ("error", "refused"):
        text = f"{entry.error}{'' if entry.status is None else f' {entry.status}'}"
    else:
        text = f"{entry.event}: {entry.why}"
    return f"[{colour}]{escape(text)}[/]"


def history_table(entries: Sequence[HistoryEntry], now: float) -> Table:
    """One line for each entry, the latest first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("ago", justify="right", no_wrap=True)
    table.add_column("call", overflow="fold")
    table.add_column("outcome", overflow="fold")
    table.add_column("attempts", justify="right")
    table.add_column("queued", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("caller, ids", overflow="fold")
    for entry in reversed(entries):
        ids = filter(None, (entry.caller, entry.correlation_id, entry.call_id))
        table.add_row(
            seconds(max(0.0, now - entry.at)),
            escape(_name(entry)),
            outcome(entry),
            str(len(entry.attempts) or ""),
            _ms(entry.queued_s),
            _ms(entry.spent_s),
            escape("\n".join(ids)),
        )
    return table


def entry_line(entry: HistoryEntry) -> str:
    """One line, for those that are followed."""
    took = _ms(entry.spent_s)
    return f"{_clock(entry.at)}  {escape(_name(entry))}  {outcome(entry)}  {took}  {escape(entry.correlation_id or '')}"


def call_tree(entries: Sequence[HistoryEntry], state: str | None) -> Tree:
    """One call's life.

    Args:
        entries: of the call, in their order.
        state: where it is now, see `now_text`, if it has not ended.
    """
    first = entries[0]
    of = f"call {first.call_id}" + (f" of {first.caller}" if first.caller else "")
    tree = Tree(f"[bold]{escape(_name(first))}[/]  {escape(of)}  correlation_id={escape(first.correlation_id or '')}")
    for entry in entries:
        where = f" in {entry.worker}" if entry.worker else ""
        queued = "" if entry.queued_s is None else f", after {_ms(entry.queued_s)} in the queue"
        spent = "" if entry.spent_s is None else f"  {_ms(entry.spent_s)}{escape(where)}{queued}"
        branch = tree.add(f"{_clock(entry.at)}  {outcome(entry)}{spent}")
        for why, count in entry.held.items():
            branch.add(f"waited in the worker: {escape(why)}, {count} times")
        for attempt in entry.attempts:
            kind = " (hedge)" if attempt.hedge else ""
            status = "" if attempt.status is None or attempt.outcome == "reply" else f" {attempt.status}"
            came = f"{attempt.status}" if attempt.outcome == "reply" else f"{attempt.outcome}{status}"
            colour = "green" if attempt.outcome == "reply" else "red"
            branch.add(
                f"{_clock(attempt.at)}  attempt {attempt.number}{kind}  [{colour}]{escape(came)}[/]"
                f"  {_ms(attempt.took_s)}"
            )
        if entry.event == "parked":
            branch.add("until " + ("its turn comes" if entry.until is None else _clock(entry.until)))
        if entry.said:
            delivery = f" ({entry.delivery})" if entry.delivery else ""
            branch.add(escape(f"{entry.said}{delivery}"))
    if state is not None:
        tree.add(f"[yellow]now: {escape(state)}[/]")
    return tree


def now_text(state: CallState, where: Whereabouts, now: float) -> str:
    """Where a call is that has not ended, in one line."""
    words = [str(state)]
    if where.worker is not None:
        words.append(f"in {where.worker}")
    if where.attempts:
        words.append(f"{where.attempts} attempt{'' if where.attempts == 1 else 's'} started")
    if where.why is not None:
        until = "" if where.due_at is None else f" until {_clock(where.due_at)}"
        words.append(f"waits for: {where.why}{until}")
    if where.deadline_at is not None:
        left_s = where.deadline_at - now
        when = f"in {seconds(left_s)}" if left_s > 0 else f"{seconds(-left_s)} ago"
        words.append(f"deadline {_clock(where.deadline_at)}, {when}")
    return "; ".join(words)


def _name(entry: HistoryEntry) -> str:
    return " ".join(filter(None, (entry.service, entry.operation))) or "(no call)"


def _clock(moment: float) -> str:
    """UTC, to the millisecond."""
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S.%f")[:-3]


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.0f} ms" if value < 10 else f"{value:.1f} s"
