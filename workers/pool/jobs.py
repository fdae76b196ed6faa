"""The jobs that a pool holds."""

from collections.abc import Callable

from workers.job import Job, Stage
from workers.pool.lane import Lane

__all__ = ["Jobs"]


class Jobs:
    """Belongs to the hub's thread; a signal handler may run in the midst of any method.

    Args:
        launch_call, launch_ordinary: start a call and any other task.
        calls, ordinary: how many of them run at once.

    Attributes:
        all: every job from its arrival until it is over.
    """

    def __init__(
        self,
        launch_call: Callable[[Job], None],
        launch_ordinary: Callable[[Job], None],
        *,
        calls: int,
        ordinary: int,
    ) -> None:
        self.calls = Lane(launch_call, calls)
        self.ordinary = Lane(launch_ordinary, ordinary)
        self.all: set[Job] = set()

    @property
    def lanes(self) -> tuple[Lane, Lane]:
        """That of the calls, and that of all other tasks."""
        return self.calls, self.ordinary

    @property
    def in_flight(self) -> int:
        """Jobs that were started, or have their outcome, and are not over."""
        return sum(job.stage in (Stage.RUNNING, Stage.SETTLED) for job in tuple(self.all))

    @property
    def performed(self) -> bool:
        """Whether a call runs that has no outcome yet."""
        return any(job.stage is Stage.RUNNING for job in tuple(self.calls.running))

    @property
    def stored(self) -> list[Job]:
        """The calls whose outcome is known, and on its way into the result store."""
        return [job for job in tuple(self.all) if job.stage is Stage.SETTLED]

    def offer(self, lane: Lane, job: Job) -> bool:
        """Take a job; False if the lane is closed."""
        if lane.closed:
            return False
        self.all.add(job)
        lane.offer(job)
        return True

    def withdraw(self, job: Job) -> bool:
        """Take a waiting job out, which is over then; False if it does not wait."""
        if not any(lane.withdraw(job) for lane in self.lanes):
            return False
        self.all.discard(job)
        job.stage = Stage.OVER
        return True

    def leave(self, job: Job) -> None:
        """A job is over."""
        job.stage = Stage.OVER
        self.all.discard(job)
        for lane in self.lanes:
            if job in lane.running:
                lane.leave(job)

    def flush(self) -> None:
        """Forget what waits."""
        for lane in self.lanes:
            self.all.difference_update(lane.waiting)
            lane.waiting.clear()

    def close(self) -> None:
        """Start no more."""
        for lane in self.lanes:
            lane.closed = True
