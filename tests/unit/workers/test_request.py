"""What a worker makes of the callbacks in a message."""

import json
from typing import Any

from gateway.call_amqp import name_callbacks


def callbacks() -> dict[str, Any]:
    return {
        "callbacks": [
            {"task": "a", "options": {}},
            {"task": "a", "options": {}},
            {"task": "b", "options": {"task_id": "b"}},
        ],
        "errbacks": [{"task": "a", "options": {}}, {"task": "no options"}],
        "chain": [{"task": "a", "options": {}}],
    }


def ids(embed: dict[str, Any], kind: str) -> list[Any]:
    return [signature.get("options", {}).get("task_id") for signature in embed[kind]]


def test_callbacks_have_the_same_ids_however_often_they_are_enqueued() -> None:
    first, second, another = callbacks(), callbacks(), callbacks()
    for call_id, embed in (("call-1", first), ("call-1", second), ("call-2", another)):
        name_callbacks(call_id, embed)
    assert first == second
    named = [*ids(first, "callbacks"), *ids(first, "errbacks")]
    assert named[2] == "b"
    assert named[4] is None
    assert len(set(named)) == 5
    assert set(named) & set(ids(another, "callbacks")) == {"b"}
    # A chain's steps have theirs from the producer.
    assert ids(first, "chain") == [None]


def test_a_message_without_any_stays_as_it_is() -> None:
    for embed in ("null", "{}", '{"callbacks": null, "errbacks": []}'):
        wired = json.loads(embed)
        name_callbacks("call-1", wired)
        assert wired == json.loads(embed)
