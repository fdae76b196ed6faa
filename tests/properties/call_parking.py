"""A call's parking as a pure machine: `park.lua`, `claim.lua` and `claimed.lua`."""

from collections.abc import Iterable
from dataclasses import replace

from tests.properties.call_machine import CLAIM_S, Claim, Fleet, Message, Park, Parked

__all__ = ["claim", "claimed", "forget", "park", "postpone"]

_LATE_CLAIM_S = 2.0


def park(fleet: Fleet, asked: Park, now: float) -> tuple[Fleet, int]:
    """`park.lua` for one call: 1 if it is parked, 0 if it belongs to another."""
    r = fleet.record(asked.call)
    mine = (r.lease or 0) == asked.token or r.owner == asked.owner
    state = "parked"
    is_free = not mine and asked.token == 0 and r.state != "parked" and r.lease_until <= now
    if is_free:
        # Nobody has it, and its worker could not ask for a lease.
        mine, r = True, replace(r, lease=(r.lease or 0) + 1)
    if mine and asked.token == 0:
        if r.state == "running" and (r.interrupted or (is_free and r.open > 0)):
            state = "running"
        maybe = asked.maybe or r.maybe or int(state == "running")
        asked = replace(asked, maybe=maybe, attempts=max(asked.attempts, r.attempts))
    if not mine and asked.call not in fleet.records:
        mine, r = True, replace(r, lease=asked.token)
    if not mine:
        return fleet, 0
    cancelled = r.state == "cancelled"
    parks = (r.parks or 0) + 1
    r = replace(
        r,
        state="cancelled" if cancelled else state,
        lease_until=0.0,
        owner="",
        attempts=asked.attempts,
        maybe=asked.maybe,
        paid=max(asked.paid, r.paid),
        why=asked.why,
        parks=parks,
        deadline_at=asked.deadline_at,
    )
    due = now if asked.due is None else asked.due
    entry = Parked(due, 0.0 if cancelled else asked.deadline_at, Message(asked.call, parks, asked.maybe))
    return fleet.write(asked.call, r).put(asked.call, entry), 1


def postpone(fleet: Fleet, message: Message, owner: str, due: float, maybe: int) -> Fleet:
    """`park.lua` for a message whose call runs elsewhere."""
    return fleet.put(f"{message.call}~{owner}", Parked(due, due, replace(message, maybe=maybe, redelivered=False)))


def forget(fleet: Fleet, call: str, token: int) -> Fleet:
    """`park.lua`: what an earlier run parked whose answer never arrived."""
    r = fleet.record(call)
    if (r.lease or 0) != token or r.state != "parked" or call not in fleet.lot:
        return fleet
    return fleet.take_out(call).write(call, replace(r, state="pending", parks=(r.parks or 0) - 1))


def claim(fleet: Fleet, now: float) -> tuple[Fleet, list[Claim]]:
    """`claim.lua`: what goes through the gate, and what goes to its end."""
    taken = sorted(
        (name, entry)
        for name, entry in fleet.lot.items()
        if entry.ends <= now or (not fleet.breaker_open and entry.due <= now)
    )
    claims = []
    for name, entry in taken:
        deadline_at = fleet.record(name if name in fleet.records else entry.message.call).deadline_at
        till = min(now + CLAIM_S, max(now + _LATE_CLAIM_S, deadline_at))
        fleet = fleet.put(name, replace(entry, due=till, ends=till))
        claims.append(Claim(name, entry.message.parks, entry.message, till - now))
    return fleet, claims


def claimed(fleet: Fleet, claims: Iterable[Claim]) -> Fleet:
    """`claimed.lua`: these are published."""
    for one in claims:
        parks = fleet.record(one.member).parks
        if parks is None or parks == one.parks:
            fleet = fleet.take_out(one.member)
    return fleet
