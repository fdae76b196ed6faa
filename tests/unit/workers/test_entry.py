"""What is read of an entry of a queue."""

import json
from typing import Any

import pytest

from workers.broker.entry import COUNT_HEADER, parse


def entry(headers: dict[str, Any] | None = None, **members: Any) -> bytes:
    properties = {"delivery_tag": "t", "delivery_info": {"exchange": "", "routing_key": "q"}, "body_encoding": None}
    return json.dumps({"headers": headers or {}, "properties": properties, "body": "", **members}).encode()


def test_one_that_is_new_says_nothing_of_deaths() -> None:
    found, is_message = parse(entry())
    assert is_message
    assert found["headers"] == {}


def test_one_that_came_back_says_how_often_it_was_fatal() -> None:
    found, _ = parse(entry(gateway_deaths=2))
    assert found["headers"] == {"redelivered": True, COUNT_HEADER: 2}
    assert found["properties"]["delivery_info"]["redelivered"] is True


def test_what_a_producer_says_of_deaths_is_not_believed() -> None:
    assert parse(entry({COUNT_HEADER: 99}))[0]["headers"] == {}
    assert parse(entry({COUNT_HEADER: 99}, gateway_deaths=1))[0]["headers"][COUNT_HEADER] == 1


@pytest.mark.parametrize(("deaths", "unpacked"), [(0, True), (2, True), (3, False), (9, False)])
def test_a_compressed_one_is_not_unpacked_after_three_deaths(deaths: int, unpacked: bool) -> None:
    headers = parse(entry({"compression": "application/x-bz2"}, gateway_deaths=deaths))[0]["headers"]
    assert ("compression" in headers) is unpacked
    # And is refused then, whatever the consumer bears otherwise.
    assert (headers[COUNT_HEADER] >= 20) is not unpacked
