"""What is parked is what the producer sent."""

import json
import zlib
from typing import Any

import pytest
from kombu.message import Message

from workers.parked_message import ParkedMessage

BODY = json.dumps([[], {"text": "ä\u2028"}, {}], ensure_ascii=False)


def message(body: Any, *, encoding: str | None = "utf-8", headers: Any = None, **properties: Any) -> Message:
    return Message(
        body=body,
        content_type="application/json",
        content_encoding=encoding,
        headers=headers or {},
        properties=properties,
        delivery_info={"exchange": "gateway.a", "routing_key": "gateway.a"},
    )


def parked(one: Message, parks: int = 1, maybe: int = 0) -> ParkedMessage:
    """There and back, as `park.lua` does it."""
    packed = ParkedMessage.of(one).pack().decode()
    return ParkedMessage.unpack(f'{{"parks":{parks},"maybe":{maybe},{packed[1:]}')


def test_all_of_it_comes_back() -> None:
    headers = {"id": "i", "shadow": "a GET /", "empty": [], "big": 12345678901234567890, "compressed": None}
    there = parked(message(BODY.encode(), headers=headers, reply_to="me", correlation_id="i", priority=3), 2, 1)
    assert there == ParkedMessage(
        queue="gateway.a",
        body=BODY,
        headers={**headers, "gateway_parks": 2, "gateway_maybe": 1},
        properties={
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "reply_to": "me",
            "correlation_id": "i",
            "priority": 3,
        },
    )


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BODY, "utf-8"),
        (BODY.encode(), "binary"),
        (BODY.encode(), None),
        (BODY.encode("utf-16"), "utf-16"),
        (memoryview(BODY.encode()), "utf-8"),
    ],
)
def test_the_text_is_the_same_in_whatever_encoding_it_came(body: Any, encoding: str | None) -> None:
    there = parked(message(body, encoding=encoding))
    assert there.body == BODY
    assert there.properties["content_encoding"] == "utf-8"


def test_what_belongs_to_one_passage_through_the_broker_stays_behind() -> None:
    headers = {
        "id": "i",
        "compression": "application/x-gzip",
        "x-delivery-count": 2,
        "x-death": [{}],
        "x-first-death-queue": "q",
        "x-own": 1,
        "gateway_parks": 1,
    }
    there = parked(message(zlib.compress(BODY.encode()), headers=headers), 2)
    assert there.body == BODY
    assert there.headers == {"id": "i", "x-own": 1, "gateway_parks": 2, "gateway_maybe": 0}


@pytest.mark.parametrize("packed", ["", "[]", "{}", '{"v":2,"queue":"","body":"","headers":{},"properties":{}}'])
def test_what_is_no_parked_message_is_refused(packed: str) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        ParkedMessage.unpack(packed)


def test_a_body_that_is_no_text_cannot_be_parked() -> None:
    with pytest.raises(ValueError, match="codec"):
        ParkedMessage.of(message(b"\xff\xfe\xfd"))
