"""Dead letters for people and as JSON: names, ids, sizes and times, and nothing of what was sent."""

from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway.cli.glance import counted, one_line, seconds
from gateway.dead_letter import DeadLetter, Reason

__all__ = ["attempts_table", "call_name", "letter_card", "letter_json", "letters_table"]


def call_name(letter: DeadLetter) -> str:
    """Service and operation."""
    return one_line(f"{letter.service or '?'} {letter.operation or ''}".strip())


def _ago(moment: float, now: float) -> str:
    return f"{seconds(max(0.0, now - moment))} ago"


def letter_json(letter: DeadLetter) -> dict[str, Any]:
    """Everything but the message; times as Unix seconds."""
    names = ("service", "operation", "protocol", "caller", "correlation_id", "request_id", "started", "repeatable")
    more = ("parks", "deadline_s", "queue", "message_bytes", "replay_of", "died_at", "replays")
    cause = letter.cause
    return {
        "id": letter.id,
        "reason": letter.reason.value,
        "error": {
            "type": cause.type,
            "message": cause.message,
            "delivery": cause.delivery.value,
            "status": cause.status,
        },
        **{name: getattr(letter, name) for name in (*names, *more)},
        "replayed_at": letter.replayed_at,
        "replayed_as": letter.replayed_as,
        "message_kept": letter.has_message,
        "attempts": [
            {
                "number": made.number,
                "at": made.at,
                "took_s": made.took_s,
                "worker": made.worker,
                "outcome": made.outcome,
                "status": made.status,
                "delivery": made.delivery.value,
            }
            for made in letter.attempts
        ],
    }


def letters_table(letters: list[DeadLetter], found: int, now: float) -> Table:
    """The latest of those that were found."""
    title = counted(found, "dead letter")
    table = Table(
        title=title if len(letters) == found else f"the latest {len(letters)} of {title}",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    # Whole, to be copied; of one that was not made by the gateway as much as there is room for.
    table.add_column("id", overflow="fold", min_width=36, max_width=42)
    table.add_column("died", no_wrap=True, justify="right")
    table.add_column("tries", no_wrap=True, justify="right")
    table.add_column("call, and its error", overflow="fold", min_width=23)
    for letter in letters:
        cause = letter.cause
        said = [cause.type, *([] if cause.status is None else [f"status {cause.status}"])]
        if letter.reason is not Reason.FAILED:
            said.append(letter.reason.value)
        elif letter.may_have_acted:
            said.append("may have been executed")
        if letter.replays:
            said.append(f"replayed {counted(letter.replays, 'time')}")
        table.add_row(
            escape(one_line(letter.id)),
            _ago(letter.died_at, now),
            str(max(letter.started, len(letter.attempts))),
            Group(Text(call_name(letter), "bold"), *(Text(one_line(line)) for line in said)),
            style="dim" if letter.replays else None,
        )
    return table


def letter_card(letter: DeadLetter, now: float, steps: int) -> Table:
    """All about one but its attempts; `steps`: later ones of its chain."""
    cause = letter.cause
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    status = "" if cause.status is None else f", status {cause.status}"
    rows = {
        "id": letter.id,
        "call": f"{call_name(letter)}{f' ({letter.protocol})' if letter.protocol else ''}",
        "died": f"{_ago(letter.died_at, now)}, {letter.reason.value}",
        "error": f"{cause.type}: {cause.message}",
        "delivery": f"{cause.delivery.value}{status}",
        "repeatable": "no: a replay needs --force" if letter.may_have_acted else "yes, as far as the gateway knows",
        "caller": letter.caller,
        "correlation id": letter.correlation_id,
        "request id": letter.request_id,
        "replay of": letter.replay_of,
        "deadline": None if letter.deadline_s is None else seconds(letter.deadline_s),
        "parked": counted(letter.parks, "time") if letter.parks else None,
        "queue": letter.queue,
        "message": f"{letter.message_bytes} bytes{'' if letter.has_message else ', not kept'}",
        "later steps": f"{steps}, which a replay leaves out" if steps else None,
        "replayed": _replays(letter, now),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, escape(one_line(value)))
    return table


def _replays(letter: DeadLetter, now: float) -> str | None:
    if not letter.replays:
        return None
    last = f", last {_ago(letter.replayed_at, now)} as {letter.replayed_as}" if letter.replayed_at else ""
    return counted(letter.replays, "time") + last


def attempts_table(letter: DeadLetter) -> Table:
    """Its attempts, with times from the start of the first."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("attempt", "after", "took"):
        table.add_column(name, no_wrap=True, justify="right")
    for name in ("outcome", "delivery", "worker"):
        table.add_column(name, overflow="fold")
    first = letter.attempts[0].at
    for made in letter.attempts:
        outcome = made.outcome if made.status is None else f"{made.outcome} {made.status}"
        table.add_row(
            str(made.number),
            seconds(max(0.0, made.at - first)),
            seconds(made.took_s),
            escape(one_line(outcome)),
            made.delivery.value,
            escape(one_line(made.worker)),
        )
    return table
