"""The live view of `gateway top`."""

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Label, Static

from gateway.catalogue import Catalogue
from gateway.cli.fleet_watch import FleetWatch, Seen
from gateway.cli.top_rows import SERVICE_COLUMNS, WORKER_COLUMNS, service_row, urgency, worker_row
from gateway.errors import GatewayUnavailableError
from gateway.redis_client import ERRORS

__all__ = ["TopApp"]

_EVERY_S = 1.0
_NOT_DONE: tuple[type[Exception], ...] = (*ERRORS, GatewayUnavailableError)
_HELP = """\
[bold]o[/]  open the breaker of the chosen service: no call goes there until it is closed; calls wait
[bold]c[/]  close it: what waits comes back little by little
[bold]r[/]  reset it: forget what was learned of the service
[bold]p[/]  pause it, or resume it: no call begins meanwhile; calls wait until their deadlines
[bold]d[/]  drain the chosen worker: it finishes what it has, gives the rest back, and ends
[bold]tab[/]  from services to workers, and back
[bold]s[/]  sort by urgency, or by name
[bold]/[/]  only services whose name contains a text
[bold]q[/]  leave; nothing stops

calls/s, errors, p99: of calls that ended in the last 10 s; from the history ·
in flight: attempts of all workers, of as many as may be · oldest: first call of the queue ·
parked: calls that wait outside of the workers · retries: that can be paid now

any key closes this"""


class _Help(ModalScreen[None]):
    """What the keys do."""

    def compose(self) -> ComposeResult:
        yield Static(_HELP, classes="box")

    def on_key(self) -> None:
        self.dismiss()


class _Question(ModalScreen[bool]):
    """Yes or no."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape", "answer(False)", "no"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        yield Vertical(Label(self._text), Label("[bold]y[/] yes   [bold]n[/] no"), classes="box")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class TopApp(App[None]):
    """Looks each second, in a thread of its own.

    Args:
        watch: looks, and acts.
        catalogue: the services.
        by: who acts, for those who look at it later.
    """

    TITLE = "call gateway"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #services { height: 2fr; } #workers { height: 1fr; } #said { height: 1; background: $panel; }
    .box { width: auto; max-width: 90%; height: auto; padding: 1 2; border: round $accent; background: $surface; }
    _Help, _Question { align: center middle; } #filter { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "breaker('open')", "open"),
        Binding("c", "breaker('close')", "close"),
        Binding("r", "breaker('reset')", "reset"),
        Binding("p", "pause", "pause"),
        Binding("d", "drain", "drain"),
        Binding("s", "sort", "sort"),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, watch: FleetWatch, catalogue: Catalogue, *, by: str) -> None:
        super().__init__()
        self._watch = watch
        self._catalogue = catalogue
        self._by = by
        self._seen = Seen()
        self._by_urgency = True
        self._wanted = ""
        self._is_looking = False
        #: Nobody answered the latest look, or there was none yet.
        self._is_away = True

    def compose(self) -> ComposeResult:
        """Two tables, a line that says what happened, and the keys."""
        yield DataTable[Text](id="services", cursor_type="row", zebra_stripes=True)
        yield DataTable[Text](id="workers", cursor_type="row")
        yield Input(placeholder="part of a service's name; enter", id="filter")
        yield Static("looking …", id="said")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._table("services").add_columns(*SERVICE_COLUMNS)
        self._table("workers").add_columns(*WORKER_COLUMNS)
        self.set_interval(_EVERY_S, self._look)
        self._look()

    def _table(self, name: str) -> "DataTable[Text]":
        return self.query_one(f"#{name}", DataTable)

    def _look(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self.run_worker(self._look_away, thread=True, exit_on_error=False)

    def _look_away(self) -> None:
        try:
            seen = self._watch.look(workers=True)
            self.call_from_thread(self._show, seen)
        finally:
            self._is_looking = False

    def _show(self, seen: Seen) -> None:
        if seen.view is None:
            # What was seen last stays.
            self._say(Text(seen.unknown, style="red"))
            self._is_away = True
        else:
            if self._is_away:
                self._say("")
            self._is_away = False
            self._seen = seen
            self._fill("workers", [(each.name, worker_row(each)) for each in seen.workers.values()])
            self.sub_title = f"{len(seen.workers)} workers, {seen.view.dead} dead letters"
        self._refill()

    def _refill(self) -> None:
        view = self._seen.view
        if view is None:
            return
        names = [name for name in self._catalogue.services if self._wanted in name]
        names.sort(key=lambda name: (urgency(name, view), name) if self._by_urgency else ((0, 0, 0), name))
        services = self._catalogue.services
        self._fill("services", [(name, service_row(name, self._seen, services[name].policy)) for name in names])

    def _fill(self, name: str, rows: list[tuple[str, tuple[str, ...]]]) -> None:
        """Rows anew, and the cursor where it was."""
        table = self._table(name)
        chosen = self._chosen(name)
        table.clear()
        for key, cells in rows:
            table.add_row(*map(Text.from_markup, cells), key=key)
        keys = [key for key, _ in rows]
        if chosen in keys:
            table.move_cursor(row=keys.index(chosen))

    def _chosen(self, name: str) -> str | None:
        table = self._table(name)
        if not table.row_count or not table.is_valid_row_index(table.cursor_row):
            return None
        key: str | None = table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value
        return key

    def _say(self, text: str | Text) -> None:
        self.query_one("#said", Static).update(text)

    def action_breaker(self, what: str) -> None:
        """Ask, and act on the breaker of the chosen service."""
        service = self._chosen("services")
        if service is None:
            self._say("choose a service")
            return
        if not self._catalogue.services[service].policy.breaker.enabled:
            self._say(f"{service} has no breaker (breaker.enabled = false)")
            return
        acts: dict[str, Callable[[], None]] = {
            "open": lambda: self._watch.open_breaker(service, self._by),
            "close": lambda: self._watch.close_breaker(service, self._by),
            "reset": lambda: self._watch.reset_breaker(service),
        }
        self._ask(f"{what} the breaker of {service}?", acts[what], f"{service}: {what}, by {self._by}")

    def action_pause(self) -> None:
        """Ask, and pause the chosen service, or resume it."""
        service = self._chosen("services")
        if service is None or self._seen.view is None:
            self._say("choose a service")
            return
        what = "pause" if self._seen.view.states[service].pause is None else "resume"
        act = self._watch.pause if what == "pause" else self._watch.resume
        self._ask(f"{what} {service}?", lambda: act(service, self._by), f"{service}: {what}, by {self._by}")

    def action_drain(self) -> None:
        """Ask, and drain the chosen worker."""
        worker = self._chosen("workers")
        if worker is None:
            self._say("there is no worker to drain")
            return
        self._ask(f"drain {worker}? it ends", lambda: self._watch.drain(worker), f"{worker}: drains, by {self._by}")

    def _ask(self, question: str, act: Callable[[], None], done: str) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(lambda: self._act(act, done), thread=True, exit_on_error=False)

        self.push_screen(_Question(question), answered)

    def _act(self, act: Callable[[], None], done: str) -> None:
        try:
            act()
        except _NOT_DONE as error:
            self.call_from_thread(self._say, f"[red]not done: {type(error).__name__}[/]")
        else:
            self.call_from_thread(self._say, done)

    def action_sort(self) -> None:
        """By urgency, or by name."""
        self._by_urgency = not self._by_urgency
        self._say("sorted by " + ("urgency" if self._by_urgency else "name"))
        self._refill()

    def action_filter(self) -> None:
        """Ask for a part of names."""
        field = self.query_one("#filter", Input)
        field.display = True
        field.focus()

    def on_key(self, event: Key) -> None:
        """Escape leaves the filter as it was."""
        field = self.query_one("#filter", Input)
        if event.key == "escape" and field.display:
            field.value, field.display = self._wanted, False
            self._table("services").focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Show those alone."""
        self._wanted = event.value.strip()
        event.input.display = False
        self._table("services").focus()
        self._refill()

    def action_help(self) -> None:
        """What the keys do."""
        self.push_screen(_Help())
