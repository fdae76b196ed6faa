"""Hostile calls, straight onto the broker and through `submit`: each ends as a typed error, and nothing arrives."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway import GraphQLCall, GrpcCall, RestCall
from gateway.errors import Delivery, InvalidCallError, UnknownServiceError
from tests.hostile.case import Call
from tests.hostile.families import cases
from tests.hostile.scene import Scene

CALLS = cases(Call)
HOSTILE = [call for call in CALLS if not call.harmless]
HARMLESS = [call for call in CALLS if call.harmless]
_OPTIONS = {"correlation_id", "request_id", "idempotency_key"}
_CLASSES: dict[Any, Any] = {"rest": RestCall, "grpc": GrpcCall, "graphql": GraphQLCall}


@dataclass
class Run:
    """All of them at once: what each ended with, and the ledgers after them."""

    outcomes: dict[int, Any] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)
    rpcs: int = 0


@pytest.fixture(scope="module")
def run(scene: Scene) -> Run:
    scene.canaries()
    known, rpcs = len(scene.users.heads), len(scene.rpc.rpcs)
    ids = {id(call): scene.put_call(call.args, call.kwargs) for call in CALLS}
    made = Run({key: scene.outcome(call_id) for key, call_id in ids.items()})
    made.heads, made.rpcs = scene.users.heads[known:], len(scene.rpc.rpcs) - rpcs
    scene.canaries()
    return made


def label(call: Call) -> str:
    return f"{call.family}: {call.name}"


@pytest.mark.parametrize("call", HOSTILE, ids=label)
def test_it_ends_as_a_typed_error_that_was_not_sent(call: Call, run: Run) -> None:
    outcome = run.outcomes[id(call)]
    assert isinstance(outcome, InvalidCallError | UnknownServiceError), repr(outcome)[:500]
    assert outcome.delivery is Delivery.NOT_SENT
    assert outcome.message.isprintable(), "one line, for a log"
    assert len(outcome.message) < 1000


def test_nothing_of_them_arrived(run: Run, scene: Scene) -> None:
    beginnings = tuple(call.harmless for call in HARMLESS)
    assert [head for head in run.heads if not head.startswith(beginnings)] == []
    assert len(run.heads) == len(HARMLESS)
    assert run.rpcs == 0
    assert scene.elsewhere.connections == 0
    assert scene.worker.exit_code is None


@pytest.mark.parametrize("call", HARMLESS, ids=label)
def test_what_is_data_arrives_as_data(call: Call, run: Run) -> None:
    outcome = run.outcomes[id(call)]
    assert isinstance(outcome, dict), repr(outcome)
    (head,) = [head for head in run.heads if head.startswith(call.harmless)]
    lines = head.split("\n")
    names = [line.partition(":")[0].lower() for line in lines[1:]]
    assert names == ["host", "accept-encoding", "user-agent", "accept", "x-correlation-id", "x-request-id"]


def producible(call: Call) -> bool:
    """Whether a producer has a way to say it, and can be told: by a class of the API, and options of `submit`."""
    named = call.call.get("protocol") if isinstance(call.call, dict) else None
    return named in _CLASSES and not call.args and not call.in_workers and set(call.envelope) <= _OPTIONS


@pytest.mark.parametrize("call", [call for call in HOSTILE if producible(call)], ids=label)
def test_a_producer_is_told_where_it_is_made(call: Call, scene: Scene) -> None:
    fields = dict(call.call)
    kind = _CLASSES[fields.pop("protocol")]
    if isinstance(fields.get("content"), str):
        fields["content"] = fields["content"].encode()
    positional = [fields.pop(name) for name in kind.__struct_fields__[: 3 if kind is RestCall else 2]]
    try:
        made = kind(*positional, **fields)
    except (InvalidCallError, TypeError):
        return  # TypeError: no such field
    with pytest.raises((InvalidCallError, UnknownServiceError)):
        scene.gateway.submit(made, **call.envelope)
    assert scene.broker.llen(f"gateway.{made.service}") == 0
