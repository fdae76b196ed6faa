"""How many calls the workers refused, as the fleet counts them."""

from typing import Any, NamedTuple

__all__ = ["KEY", "NOBODY", "Rejected", "read_rejected"]

#: A hash, field `<caller> <reason>`.
KEY = "gateway:rejected"
#: In the place of a caller that the catalogue does not have: a name in a message that nobody signed is anybody's.
NOBODY = "-"


class Rejected(NamedTuple):
    """Calls that were refused for one reason.

    Attributes:
        caller: a caller of the catalogue, or `NOBODY`.
        reason: one word: `unsigned`, `unknown`, `forged`, `tampered`, `replayed`, `expired`, `early`, `malformed`,
            `forbidden`, `sealed`.
        calls: how many, since the store was set up.
    """

    caller: str
    reason: str
    calls: int


def read_rejected(client: Any) -> list[Rejected]:
    """All of them, most first.

    Args:
        client: of the Redis that holds the fleet's state.
    """
    found = []
    for field, number in client.hgetall(KEY).items():
        caller, _, reason = field.decode().partition(" ")
        found.append(Rejected(caller, reason, int(number)))
    return sorted(found, key=lambda rejected: -rejected.calls)
