"""The kinds of hostile input. A family is one file of `tests.hostile.families` with a list `CASES` of one of them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Address", "Call", "HostileReply", "Message", "Signature", "graphql", "grpc", "rest"]


@dataclass(frozen=True, kw_only=True)
class Call:
    """A message whose call, or what goes with it, is hostile. It must end as a typed error, and nothing may arrive.

    Attributes:
        family, name: for people; together they name it.
        call: as it is on the wire.
        envelope: what goes with it.
        args: the results of the step before, as in a chain.
        in_workers: only a worker can tell, which has the service's descriptors.
        harmless: it is no mistake, and arrives, as data and nothing else: then how the request begins that must.
    """

    family: str
    name: str
    call: Any
    envelope: Mapping[str, Any] = field(default_factory=dict)
    args: list[Any] = field(default_factory=list)
    in_workers: bool = False
    harmless: str = ""

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments of the task."""
        known = {"version": 1, "deadline_s": 60.0, **self.envelope}
        known = {name: value for name, value in known.items() if value is not ...}
        return known if self.call is ... else {**known, "call": self.call}

    @property
    def text(self) -> str:
        """What tells it from the others."""
        return json.dumps([self.args, self.kwargs], sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Message:
    """An entry of a queue that is no message as Celery makes them. It ends as a typed error, and nothing runs.

    Attributes:
        body: as it is in the queue; made when it is needed, where it is large. What it would run makes the file that
            the worker's environment has as `HOSTILE_MARKER`.
        headers: more of the message's headers.
        envelope: more of the entry.
    """

    family: str
    name: str
    body: str | Callable[[], str]
    headers: Mapping[str, Any] = field(default_factory=dict)
    envelope: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """What tells it from the others."""
        body = self.body if isinstance(self.body, str) else self.name
        return json.dumps([body, dict(self.headers), dict(self.envelope)], sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where no call may go.

    Attributes:
        host: as it is in the catalogue.
        resolves: what the host resolves to; None: it is an address itself, in some notation.
    """

    family: str
    name: str
    host: str
    resolves: tuple[str, ...] | None = None
    allow: tuple[str, ...] = ("private", "0.0.0.0/0", "::/0")

    @property
    def text(self) -> str:
        """What tells it from the others."""
        return json.dumps([self.host, self.resolves, self.allow])


@dataclass(frozen=True, kw_only=True)
class HostileReply:
    """What a hostile service answers: the call was sent, ends as a typed error, and costs no more than its bounds.

    Attributes:
        raw: makes the bytes; `{elsewhere}` and `{here}` in them become the port of another server, and of its own.
        redirects: how many are followed.
    """

    family: str
    name: str
    raw: Callable[[], bytes]
    redirects: int = 0

    @property
    def text(self) -> str:
        """What tells it from the others."""
        return f"{self.family} {self.name}"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A call that would be done, with something wrong about who says that he asks. It is rejected, and nothing arrives.

    Attributes:
        make: the signature, of what is given: `text`, the right one; `sign`, which signs other claims with the caller's
            own key; `public`, a public key that the worker knows.
        caller: who says that he asks; `...`: the one who does.
    """

    family: str
    name: str
    make: Callable[[Any], Any] = lambda given: given.text
    caller: Any = ...

    @property
    def text(self) -> str:
        """What tells it from the others."""
        return f"{self.family} {self.name}"


def rest(route: str = "/users", method: str = "GET", **more: Any) -> dict[str, Any]:
    """A REST call on the wire."""
    return {"protocol": "rest", "service": "users", "method": method, "route": route, **more}


def grpc(method: str = "goodgo.user.v1.UserService/GetUser", **more: Any) -> dict[str, Any]:
    """A gRPC call on the wire."""
    return {"protocol": "grpc", "service": "users", "method": method, "request": {"user_id": "1"}, **more}


def graphql(query: Any = "{ user { name } }", **more: Any) -> dict[str, Any]:
    """A GraphQL call on the wire."""
    return {"protocol": "graphql", "service": "users", "query": query, **more}
