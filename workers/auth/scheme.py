"""What every scheme gets and gives."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.call import Call
from gateway.outcome import Failure

__all__ = ["Asked", "Credentials", "Post", "Posted", "Scheme"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a scheme may know of the request that it is for.

    Attributes:
        call: what is asked.
        call_id: the same for all attempts of a call.
        caller: who asked the gateway; None if nobody said.
        correlation_id, request_id: as they are sent.
        budget_s: seconds that the attempt has left.
    """

    call: Call
    call_id: str
    caller: str | None
    correlation_id: str
    request_id: str
    budget_s: float


@dataclass(frozen=True, slots=True)
class Credentials:
    """What shows a service who asks.

    Attributes:
        headers: names in lower case; on gRPC the metadata.
        sign: makes more of them from the body as it goes out; None: there are no more.
        own: values that are of this request alone, and that nobody has registered as secrets.
    """

    headers: Mapping[str, str]
    sign: Callable[[bytes], Mapping[str, str]] | None = None
    own: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Posted:
    """The answer to a form.

    Attributes:
        status: of HTTP.
        body: decoded.
    """

    status: int
    body: bytes


#: Sends a form: the form, headers, and seconds that it may take. A failure was not answered.
Post = Callable[[Mapping[str, str], Mapping[str, str], float], Awaitable[Posted | Failure]]


class Scheme(Protocol):
    """Credentials of one service. Belongs to one event loop; makes what it needs on first use.

    Attributes:
        names: of the headers that it sets.
    """

    names: frozenset[str]

    async def credentials(self, asked: Asked) -> Credentials | Failure:
        """For one request. A failure was not sent, and says what cannot be had. Takes `asked.budget_s` at most."""
        ...

    async def refused(self, credentials: Credentials, asked: Asked) -> bool:
        """The service did not accept these (401, UNAUTHENTICATED): is it worth asking once more, with new ones?"""
        ...
