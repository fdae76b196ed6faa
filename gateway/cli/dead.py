"""`gateway dead`: the calls that ended for good, to be looked at, replayed and purged. Never shows their payload."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import click
from rich.console import Console

from gateway.catalogue import CatalogueError
from gateway.cli.dead_view import attempts_table, call_name, letter_card, letter_json, letters_table
from gateway.cli.glance import counted, one_line
from gateway.cli.since import Since
from gateway.dead_letter import DeadLetter, Reason
from gateway.dead_letters import DeadLetters
from gateway.dead_selection import Selection
from gateway.errors import Delivery, ServiceError
from gateway.redis_client import ERRORS
from gateway.settings import Settings, SettingsError

__all__ = ["dead"]

_MOST_LISTED = 50

Command = TypeVar("Command", bound=Callable[..., Any])


def _filters(command: Command) -> Command:
    for option in (
        click.option(
            "--since", type=Since(), default=None, help="Only what died so long ago at most: 90s, 30m, 6h, 2d."
        ),
        click.option("--reason", type=click.Choice([str(reason) for reason in Reason]), help="Only for this reason."),
        click.option("--error", default=None, help="Only with this error, such as ServiceUnavailableError."),
        click.option("--service", default=None, help="Only calls of this service."),
    ):
        command = option(command)
    return command


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


def _selection(service: str | None, error: str | None, reason: str | None, since: float | None) -> Selection:
    return Selection(service=service, error=error, reason=None if reason is None else Reason(reason), since_s=since)


@click.group()
def dead() -> None:
    """Look at the calls that ended for good without a reply, replay them, purge them.

    They are kept for seven days, 10,000 of them at most. Nothing of their payload is shown.
    """


@dead.command("list")
@_filters
@click.option("--limit", type=click.IntRange(1), default=_MOST_LISTED, show_default=True, help="The latest so many.")
@_as_json
def list_(
    service: str | None, error: str | None, reason: str | None, since: float | None, limit: int, as_json: bool
) -> None:
    """List dead letters, the latest first."""
    with _store() as letters:
        now = letters.now()
        found = list(_chosen(letters, _selection(service, error, reason, since), now))
        total = letters.count()
    found.reverse()
    shown = found[:limit]
    if as_json:
        click.echo(json.dumps([letter_json(letter) for letter in shown], indent=2, ensure_ascii=False))
        return
    if not shown:
        click.echo("No dead letters." if not total else f"None of {counted(total, 'dead letter')} is such a one.")
        return
    Console(highlight=False).print(letters_table(shown, len(found), now))


@dead.command()
@click.argument("letter_id", metavar="ID")
@_as_json
def show(letter_id: str, as_json: bool) -> None:
    """Show one dead letter with its attempts."""
    from gateway.dead_message import later_steps

    with _store() as letters:
        now = letters.now()
        letter = letters.find(letter_id)
    if letter is None:
        raise click.ClickException(_gone(letter_id))
    steps = later_steps(letter)
    if as_json:
        click.echo(json.dumps({**letter_json(letter), "later_steps": steps}, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(letter_card(letter, now, steps))
    if letter.attempts:
        console.print(attempts_table(letter))
    missing = letter.started - len(letter.attempts)
    if missing > 0:
        console.print(
            f"{counted(missing, 'attempt')} more: of workers that ended, or before the latest {len(letter.attempts)}"
        )


@dead.command()
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@_filters
@click.option("--limit", type=click.IntRange(1), default=None, help="The oldest so many.")
@click.option("--to", default=None, metavar="SERVICE", help="Ask this service instead.")
@click.option("--deadline", type=click.FloatRange(0, min_open=True), help="Seconds; as long as the dead call had.")
@click.option("--force", is_flag=True, help="Also what may be executed a second time by that.")
@click.option("--again", is_flag=True, help="Also what was replayed before.")
@_dry_run
@_yes
def replay(
    letter_ids: tuple[str, ...],
    service: str | None,
    error: str | None,
    reason: str | None,
    since: float | None,
    limit: int | None,
    to: str | None,
    deadline: float | None,
    force: bool,
    again: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Enqueue dead calls again: these, or a slice of them, the oldest first.

    Each becomes a new call with an id and a deadline of its own, the same correlation id and idempotency key. It is
    the one call, without the later steps of its chain. What may have been executed and may not be repeated needs
    --force, what was replayed before --again. The exit code is 1 if any was not replayed.
    """
    from gateway.replay import Replayer, Terms

    selection = _selection(service, error, reason, since)
    _check_choice(letter_ids, selection, "name what to replay: ids, or a slice with --service, --error, --since")
    terms = Terms(to=to, deadline_s=deadline, force=force, again=again)
    ended: Counter[bool] = Counter()
    with _reporting(), Replayer.from_env() as replayer:
        chosen = list(islice(_named(replayer.letters, letter_ids, selection), limit))
        if not letter_ids and not again:
            # A slice that is replayed a second time goes on where the first one ended.
            before = len(chosen)
            chosen = [letter for letter in chosen if not letter.replays]
            if before > len(chosen):
                click.echo(f"{counted(before - len(chosen), 'letter')} left out: replayed before")
        if not chosen:
            click.echo("Nothing to replay.")
            return
        if not (letter_ids or dry_run or yes):
            _tell(chosen)
            click.confirm(f"Replay {counted(len(chosen), 'call')}{f' to {to}' if to else ''}?", abort=True)
        for done in (replayer.check if dry_run else replayer.replay)(chosen, terms):
            ended[not done.why] += 1
            name = f"{one_line(done.letter.id)} {call_name(done.letter)}"
            if done.call_id is None and done.why:
                click.echo(f"not replayed: {name}: {one_line(done.why)}")
            elif dry_run:
                click.echo(f"would be replayed: {name}")
            else:
                click.echo(f"replayed: {name} as {done.call_id}{f': {one_line(done.why)}' if done.why else ''}")
    click.echo(f"{ended[True]} {'would be ' if dry_run else ''}replayed, {ended[False]} not")
    if ended[False]:
        raise SystemExit(1)


@dead.command()
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@_filters
@click.option("--all", "all_", is_flag=True, help="All of them.")
@click.option("--replayed", is_flag=True, help="Only what was replayed.")
@_dry_run
@_yes
def purge(
    letter_ids: tuple[str, ...],
    service: str | None,
    error: str | None,
    reason: str | None,
    since: float | None,
    all_: bool,
    replayed: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Forget dead letters for good: these, a slice of them, or all."""
    chosen_by = _selection(service, error, reason, since)
    if replayed:
        chosen_by = Selection(service=service, error=error, reason=chosen_by.reason, since_s=since, replayed=True)
    if not all_:
        _check_choice(letter_ids, chosen_by, "name what to forget: ids, a slice with --service, --error, …, or --all")
    elif letter_ids or not chosen_by.is_all:
        raise click.UsageError("--all means every letter: leave out ids and conditions")
    with _store() as letters:
        chosen = list(_named(letters, letter_ids, chosen_by))
        if not chosen:
            click.echo("Nothing to forget.")
            return
        if dry_run:
            _tell(chosen)
            click.echo(f"{counted(len(chosen), 'letter')} would be forgotten")
            return
        if not yes:
            _tell(chosen)
            click.confirm(f"Forget {counted(len(chosen), 'letter')} for good?", abort=True)
        click.echo(f"{counted(letters.purge([letter.id for letter in chosen]), 'letter')} forgotten")


@contextmanager
def _store() -> Iterator[DeadLetters]:
    with _reporting(), DeadLetters.open(Settings.from_env().result_url) as letters:
        yield letters


@contextmanager
def _reporting() -> Iterator[None]:
    """What goes wrong in words for an operator."""
    try:
        yield
    except (SettingsError, CatalogueError, ServiceError) as error:
        raise click.ClickException(one_line(str(error))) from None
    except ERRORS as error:
        raise click.ClickException(
            f"the result store does not answer ({one_line(str(error))}); start it, or correct GATEWAY_RESULT_URL"
        ) from None


def _check_choice(letter_ids: tuple[str, ...], selection: Selection, what: str) -> None:
    if not letter_ids and selection.is_all:
        raise click.UsageError(what)
    if letter_ids and not selection.is_all:
        raise click.UsageError("name ids or conditions, not both")


def _chosen(letters: DeadLetters, selection: Selection, now: float) -> Iterator[DeadLetter]:
    return (letter for letter in letters if selection.has(letter, now))


def _named(letters: DeadLetters, letter_ids: tuple[str, ...], selection: Selection) -> Iterable[DeadLetter]:
    if not letter_ids:
        return _chosen(letters, selection, letters.now())
    found = {letter.id: letter for letter in letters.get(list(dict.fromkeys(letter_ids)))}
    missing = [letter_id for letter_id in letter_ids if letter_id not in found]
    if missing:
        raise click.ClickException(_gone(missing[0]))
    return found.values()


def _gone(letter_id: str) -> str:
    return f"there is no dead letter {one_line(letter_id)}; see `gateway dead list`"


def _tell(letters: list[DeadLetter]) -> None:
    """What they are, in a few lines."""
    for (name, error), count in Counter((call_name(letter), letter.cause.type) for letter in letters).most_common(10):
        click.echo(f"{count:6d}  {name}  {error}")
    answered = sum(letter.cause.delivery is Delivery.ANSWERED for letter in letters)
    if answered:
        click.echo(f"{answered} of them were answered: what the service did before it failed, it knows alone")
