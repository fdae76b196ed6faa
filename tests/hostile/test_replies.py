"""A hostile service: its answers end as typed errors within the bounds, and send nobody elsewhere."""

from typing import Any

import pytest

from gateway.errors import Delivery, InvalidReplyError, OutcomeUnknownError, ServiceRejectedError
from tests.hostile.case import HostileReply, rest
from tests.hostile.families import cases
from tests.hostile.scene import Scene

REPLIES = cases(HostileReply)
#: What the worker may need beside what it had before: a bound of 8 MiB for each of the calls that run at once.
_MEMORY_MIB = 400


@pytest.fixture(scope="module")
def outcomes(scene: Scene) -> dict[int, Any]:
    scene.canaries()
    before = scene.peak_mib()
    ports = {b"{elsewhere}": scene.elsewhere.port, b"{here}": scene.hostile.port}
    answers = {}
    for number, reply in enumerate(REPLIES):
        raw = reply.raw()
        for name, port in ports.items():
            raw = raw.replace(name, str(port).encode())
        answers[f"/{number}"] = raw
    # Where a redirect to itself leads.
    answers["/"] = answers[f"/{len(REPLIES) - 1}"]
    scene.hostile.answers = answers
    ids = {
        id(reply): scene.put_call(
            [], {"version": 1, "call": rest(f"/{number}") | {"service": f"hostile-{reply.redirects}"}}
        )
        for number, reply in enumerate(REPLIES)
    }
    ended = {key: scene.outcome(call_id) for key, call_id in ids.items()}
    scene.canaries()
    assert scene.peak_mib() - before < _MEMORY_MIB
    return ended


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply.name)
def test_it_ends_as_a_typed_error(reply: HostileReply, outcomes: dict[int, Any]) -> None:
    outcome = outcomes[id(reply)]
    assert isinstance(outcome, InvalidReplyError | ServiceRejectedError | OutcomeUnknownError), repr(outcome)[:500]
    assert outcome.delivery in (Delivery.ANSWERED, Delivery.MAYBE_SENT)
    assert outcome.message.isprintable()
    assert len(outcome.message) < 1000
    if "redirect" in reply.name:
        assert "redirect" in outcome.message


def test_nothing_reached_another_host(outcomes: dict[int, Any], scene: Scene) -> None:
    assert outcomes
    assert scene.elsewhere.connections == 0
    asked = [head.split("\n")[0].split(" ")[1] for head in scene.hostile.heads]
    followed = [path for path in asked if path == "/"]
    assert len(followed) == 3, "the one that leads to itself"
    assert len(asked) == len(REPLIES) + len(followed), "each was asked once"
    assert scene.worker.exit_code is None
