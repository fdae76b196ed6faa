"""A lane keeps order and limit, whatever happens while it starts a job."""

from collections.abc import Callable
from typing import Any

from workers.job import Job
from workers.pool.lane import Lane


def job(name: str, on_accepted: Callable[..., object] = lambda *_: None) -> Job:
    def nothing(*_: Any) -> Any:
        return None

    return Job(name, nothing, (), on_accepted, nothing, nothing, nothing, nothing)


def test_order_and_limit() -> None:
    started: list[str] = []
    lane = Lane(lambda one: started.append(one.task_id), 2)
    jobs = [job(name) for name in "abcd"]
    for one in jobs:
        lane.offer(one)
    assert started == ["a", "b"]
    assert repr(lane) == "<Lane 2 of 2 running, 2 waiting>"
    lane.leave(jobs[1])
    assert started == ["a", "b", "c"]
    assert lane.withdraw(jobs[3])
    assert not lane.withdraw(jobs[0])
    lane.leave(jobs[0])
    assert started == ["a", "b", "c"]


def test_a_job_that_ends_while_it_starts_lets_the_next_one_in() -> None:
    started: list[str] = []

    def launch(one: Job) -> None:
        started.append(one.task_id)
        lane.leave(one)

    lane = Lane(launch, 1)
    for name in "abc":
        lane.offer(job(name))
    assert started == ["a", "b", "c"]
    assert not lane.running


def test_a_wider_limit_takes_effect_and_a_closed_lane_starts_nothing() -> None:
    started: list[str] = []
    lane = Lane(lambda one: started.append(one.task_id), 0)
    for name in "abc":
        lane.offer(job(name))
    assert started == []
    lane.limit = 1
    lane.fill()
    assert started == ["a"]
    lane.closed = True
    lane.limit = 3
    lane.fill()
    assert started == ["a"]
    assert repr(lane) == "<Lane 1 of 3 running, 2 waiting, closed>"
