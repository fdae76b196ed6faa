"""Dead letters are replayed: each as a new, ordinary call, which has an id, a deadline and an outcome of its own.

A replay asks what the dead call asked, with its correlation id, its caller and its idempotency key. It is that one call
alone: callbacks and later steps of a chain or chord were told of the failure when the call died, and are not enqueued
again. What an earlier step of the chain had put into the call is in it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import msgspec

from gateway.broker import close_app, make_app
from gateway.caller import secrets_of
from gateway.catalogue import Catalogue
from gateway.clock import FleetClock
from gateway.dead_letter import REPLAY_HEADER, DeadLetter, Reason
from gateway.dead_letters import DeadLetters
from gateway.dead_message import envelope_of
from gateway.envelope import DEFAULT_DEADLINE_S, MAX_DEADLINE_S, Envelope
from gateway.errors import CallRejectedError, Delivery, GatewayUnavailableError, InvalidCallError, ServiceError
from gateway.idempotency import Claim
from gateway.intake import Draft, Intake
from gateway.publisher import Message, Publisher
from gateway.queue_bound import QueueBound
from gateway.records import CallState
from gateway.redis_client import ERRORS
from gateway.results import Results
from gateway.settings import Settings

__all__ = ["Replayed", "Replayer", "Terms"]

_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How letters are replayed.

    Attributes:
        to: another service, which is asked instead; None: the one that was.
        deadline_s: seconds from now until nobody waits any more; None: as long as the dead call had.
        force: also what may be executed twice by that.
        again: also what was replayed before.
    """

    to: str | None = None
    deadline_s: float | None = None
    force: bool = False
    again: bool = False


class Replayed(NamedTuple):
    """What became of one letter.

    Attributes:
        letter: the same.
        call_id: of the call that replays it; None: there is none.
        why: why not, or what is not certain; empty if all is well.
    """

    letter: DeadLetter
    call_id: str | None
    why: str = ""


class _Ready(NamedTuple):
    letter: DeadLetter
    draft: Draft
    claim: Claim | None


class Replayer:
    """Enqueues dead calls again. For one thread.

    Args:
        settings: where broker and results are.
        catalogue: refuses unknown services, and gives each its own queue; as in `Gateway`.
        environ: has the callers' secrets, if this is where workers run: a replay is signed in the dead call's name.
    """

    def __init__(
        self, settings: Settings, catalogue: Catalogue | None = None, *, environ: Mapping[str, str] | None = None
    ) -> None:
        self.letters = DeadLetters.open(settings.result_url)
        self._settings = settings
        self._catalogue = catalogue
        secrets = {} if catalogue is None else secrets_of(catalogue.callers, environ or {})
        self._keys = {**secrets, **settings.signing_keys}
        self._celery = make_app(settings, keys=self._keys)
        self._publisher = Publisher(self._celery)
        self._results = Results(self._celery, settings.result_url, FleetClock())
        self._bound = QueueBound({} if catalogue is None else catalogue.services, self._waiting)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """As the environment says, see `Settings.from_env`; for errors see `Gateway.from_env`."""
        settings = Settings.from_env(environ)
        catalogue = Catalogue.load(settings.config) if settings.config else None
        return cls(settings, catalogue, environ=os.environ if environ is None else environ)

    def close(self) -> None:
        """Give the connections back."""
        self.letters.close()
        self._results.close()
        close_app(self._celery)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def check(self, letters: Iterable[DeadLetter], terms: Terms) -> Iterator[Replayed]:
        """What `replay` would do, and nothing is done: `why` is empty for those that it would enqueue.

        Raises:
            GatewayUnavailableError: the result store does not answer.
        """
        for letter in letters:
            ready = self._ready(letter, terms)
            yield Replayed(letter, None, ready if isinstance(ready, str) else "")

    def replay(self, letters: Iterable[DeadLetter], terms: Terms) -> Iterator[Replayed]:
        """Replay letters, a page at a time, and say what became of each as it does.

        A letter stays where it is; how often it was replayed is counted before its call is enqueued, and taken back if
        that surely failed. Of two who replay a letter at once one does.

        Raises:
            GatewayUnavailableError: broker or result store do not answer, or the queue is full. What was not yielded
                before was not enqueued. The letters' own store raises what `gateway.redis_client.ERRORS` has.
        """
        page: list[_Ready] = []
        for letter in letters:
            ready = self._ready(letter, terms)
            if isinstance(ready, str):
                yield Replayed(letter, None, ready)
                continue
            page.append(ready)
            if len(page) == _PAGE:
                yield from self._enqueue(page, terms)
                page = []
        if page:
            yield from self._enqueue(page, terms)

    def _ready(self, letter: DeadLetter, terms: Terms) -> _Ready | str:
        """A draft, or why there is none."""
        if letter.may_have_acted and not terms.force:
            what = "its workers died with it" if letter.reason is Reason.POISONOUS else "it may have been executed"
            return f"{what}; --force sends it again"
        if letter.replays and not terms.again:
            return f"it was replayed already, as {letter.replayed_as or 'a call'}; --again replays it again"
        if letter.cause.type == CallRejectedError.__name__ and not terms.force:
            return "it was rejected, so nobody knows who asked it; --force sends it in the name of its caller"
        try:
            envelope = envelope_of(letter)
            if why := self._unsendable(envelope, terms):
                return why
            draft = self._draft(letter, envelope, terms)
        except ServiceError as error:
            return error.message
        if not terms.force and (standing := self._standing(letter)):
            return standing
        key = envelope.idempotency_key
        return _Ready(letter, draft, None if key is None else Claim.of(envelope.caller, key, draft.call))

    def _unsendable(self, envelope: Envelope, terms: Terms) -> str:
        caller = envelope.caller
        if self._catalogue is not None and self._catalogue.callers and caller not in self._keys:
            name = caller or "its caller, which has no name"
            return f"it would have to be signed by {name}; set GATEWAY_CALLER and GATEWAY_CALLER_KEY to that caller's"
        if envelope.sealed is not None and terms.to is not None:
            return "what is sealed in it is for the service that it was of; its producer has to submit it anew"
        return ""

    def _draft(self, letter: DeadLetter, envelope: Envelope, terms: Terms) -> Draft:
        call = envelope.call if terms.to is None else msgspec.structs.replace(envelope.call, service=terms.to)
        deadline_s = terms.deadline_s or letter.deadline_s or DEFAULT_DEADLINE_S
        intake = Intake(replace(self._settings, caller=envelope.caller), self._catalogue)
        draft = intake.draft(
            call,
            correlation_id=envelope.correlation_id or letter.correlation_id,
            deadline=min(deadline_s, MAX_DEADLINE_S),
            idempotency_key=envelope.idempotency_key,
            request_id=None,
            traceparent=envelope.traceparent,
            tracestate=envelope.tracestate,
        )
        headers = {**draft.options["headers"], REPLAY_HEADER: letter.id}
        kwargs = draft.kwargs if envelope.sealed is None else {**draft.kwargs, "sealed": envelope.sealed}
        return draft._replace(kwargs=kwargs, options={**draft.options, "headers": headers})

    def _standing(self, letter: DeadLetter) -> str:
        """Why what was asked is done, or may be, by now: the call came to life again, or its replay did it."""
        payload, _ = self._results.look(letter.id)
        if payload is not None and self._delivery(letter.id, payload) is None:
            return "the call has a reply by now; --force sends it again"
        if letter.replayed_as is None:
            return ""
        payload, state = self._results.look(letter.replayed_as)
        if payload is None:
            return (
                ""
                if state is CallState.UNKNOWN
                else f"its replay {letter.replayed_as} has no outcome yet; --force sends it again"
            )
        match self._delivery(letter.replayed_as, payload):
            case None:
                return f"its replay {letter.replayed_as} has a reply; --force sends it again"
            case Delivery.MAYBE_SENT:
                return f"its replay {letter.replayed_as} may have been executed; --force sends it again"
        return ""

    def _delivery(self, call_id: str, payload: bytes) -> Delivery | None:
        """Of the stored error; None: it is a reply."""
        try:
            self._results.outcome(call_id, payload)
        except ServiceError as error:
            return error.delivery
        return None

    def _enqueue(self, page: Sequence[_Ready], terms: Terms) -> list[Replayed]:
        self._bound.admit(ready.draft.call.service for ready in page)
        now = self._results.now()
        made = [(ready, ready.draft.at(now)) for ready in page]
        granted = self.letters.mark([(ready.letter, message.call_id) for ready, message in made])
        ended = [
            Replayed(ready.letter, None, "it is gone, or somebody replayed it just now")
            for (ready, _), ours in zip(made, granted, strict=True)
            if not ours
        ]
        ours = [pair for pair, grant in zip(made, granted, strict=True) if grant]
        sent: list[tuple[_Ready, Message]] = []
        try:
            taken = self._record(ours, terms)
            for ready, message in ours:
                if message.call_id in taken:
                    ended.append(Replayed(ready.letter, None, taken[message.call_id]))
                else:
                    sent.append((ready, message))
            if taken:
                self.letters.unmark(
                    [(ready.letter, message.call_id) for ready, message in ours if message.call_id in taken]
                )
            if sent:
                self._publisher.send([message for _, message in sent])
        except (GatewayUnavailableError, InvalidCallError) as error:
            if error.delivery is Delivery.NOT_SENT or not sent:
                self._take_back(ours)
                raise
            doubt = f"the broker did not answer: it may be enqueued, or not ({error.message})"
            return [*ended, *(Replayed(ready.letter, message.call_id, doubt) for ready, message in sent)]
        return [*ended, *(Replayed(ready.letter, message.call_id) for ready, message in sent)]

    def _record(self, ours: Sequence[tuple[_Ready, Message]], terms: Terms) -> dict[str, str]:
        """Write the calls down; for those that must not be enqueued, by id, why.

        A replay takes its idempotency key from the dead call, so that a producer who submits with it shares the replay.
        """
        plain: list[Message] = []
        taken: dict[str, str] = {}
        for ready, message in ours:
            if ready.claim is None:
                plain.append(message)
                continue
            instead_of = ready.letter.id if ready.letter.replayed_as is None else ready.letter.replayed_as
            held, _ = self._results.claim(message, ready.claim, instead_of=instead_of)
            if held is not None and held.call_id == ready.letter.id:
                held, _ = self._results.claim(message, ready.claim, instead_of=ready.letter.id)
            if held is not None and terms.force:
                plain.append(message)
            elif held is not None:
                taken[message.call_id] = f"call {held.call_id} has its idempotency key since; --force sends it besides"
        if plain:
            self._results.record(plain)
        return taken

    def _take_back(self, ours: Sequence[tuple[_Ready, Message]]) -> None:
        for ready, message in ours:
            if ready.claim is not None:
                self._results.release(message.call_id, ready.claim)
        self._results.forget(message.call_id for _, message in ours)
        with suppress(*ERRORS):
            # Should it not answer either, the letter counts as replayed, and says as which call.
            self.letters.unmark([(ready.letter, message.call_id) for ready, message in ours])

    def _waiting(self, queue: str, service: str | None) -> int:
        parked = 0 if service is None else self._results.parked(service)
        return self._publisher.waiting(queue) + parked

    def __repr__(self) -> str:
        return f"<Replayer {self._settings!r}>"
