"""The bound on waiting calls, with a clock and counts of the test's own."""

import tomllib

import pytest

from gateway.catalogue import Catalogue
from gateway.errors import GatewayUnavailableError, QueueFullError
from gateway.queue_bound import QueueBound

CATALOGUE = """
[services.small]
rest.url = "http://127.0.0.1:1"
limit.queue = 5

[services.endless]
rest.url = "http://127.0.0.1:1"
limit.queue = false
"""


class World:
    """What waits, and the time."""

    def __init__(self, text: str | None = CATALOGUE) -> None:
        self.waiting: dict[str, int] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.time_s = 0.0
        services = {} if text is None else Catalogue.parse(tomllib.loads(text)).services
        self.bound = QueueBound(services, self.count, now=lambda: self.time_s)

    def count(self, queue: str, service: str | None) -> int:
        self.asked.append((queue, service))
        return self.waiting.get(queue, 0)


def test_calls_are_let_in_up_to_the_bound_and_counted_without_asking_again() -> None:
    world = World()
    world.waiting["gateway.small"] = 3
    world.bound.admit(["small"])
    world.bound.admit(["small"])
    with pytest.raises(QueueFullError) as caught:
        world.bound.admit(["small"])
    assert (caught.value.waiting, caught.value.bound, caught.value.service) == (5, 5, "small")
    assert "limit.queue" in str(caught.value)
    assert isinstance(caught.value, GatewayUnavailableError)
    assert world.asked == [("gateway.small", "small")]


def test_the_count_is_taken_anew_after_a_tenth_of_a_second() -> None:
    world = World()
    world.waiting["gateway.small"] = 5
    with pytest.raises(QueueFullError):
        world.bound.admit(["small"])
    world.waiting["gateway.small"] = 0
    world.time_s = 0.099
    with pytest.raises(QueueFullError):
        world.bound.admit(["small"])
    world.time_s = 0.101
    world.bound.admit(["small"])


def test_many_calls_are_let_in_together_or_not_at_all() -> None:
    world = World()
    with pytest.raises(QueueFullError):
        world.bound.admit(["small"] * 6)
    world.bound.admit(["small"] * 5)
    with pytest.raises(QueueFullError):
        world.bound.admit(["small"])


def test_one_service_that_is_full_leaves_the_others_counts_alone() -> None:
    world = World()
    with pytest.raises(QueueFullError):
        world.bound.admit(["endless"] * 10 + ["small"] * 6)
    world.bound.admit(["small"] * 5)


def test_a_service_without_a_bound_is_not_counted() -> None:
    world = World()
    world.bound.admit(["endless"] * 1_000_000)
    assert world.asked == []


def test_without_a_catalogue_the_front_queue_has_the_default_bound() -> None:
    world = World(None)
    world.waiting["gateway"] = 199_999
    world.bound.admit(["whatever"])
    with pytest.raises(QueueFullError) as caught:
        world.bound.admit(["something else"])
    assert (caught.value.service, caught.value.bound) == (None, 200_000)
    assert world.asked == [("gateway", None)]
