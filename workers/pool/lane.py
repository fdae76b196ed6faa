"""Jobs in the order of their arrival, a bounded number of them running."""

from collections import deque
from collections.abc import Callable

from workers.job import Job

__all__ = ["Lane"]


class Lane:
    """Belongs to the hub's thread; takes no lock, since a signal handler may run in the midst of any method.

    Args:
        launch: starts a job.
        limit: jobs that run at once; the rest waits.
    """

    def __init__(self, launch: Callable[[Job], None], limit: int) -> None:
        self._launch = launch
        self.limit = limit
        self.closed = False
        self.waiting: deque[Job] = deque()
        self.running: set[Job] = set()

    def offer(self, job: Job) -> None:
        """Take a job; it starts now or when its turn comes."""
        self.waiting.append(job)
        self.fill()

    def fill(self) -> None:
        """Start what may start."""
        while self.waiting and not self.closed and len(self.running) < self.limit:
            job = self.waiting.popleft()
            self.running.add(job)
            self._launch(job)

    def withdraw(self, job: Job) -> bool:
        """Take a waiting job out; False if it does not wait here."""
        try:
            self.waiting.remove(job)
        except ValueError:
            return False
        return True

    def leave(self, job: Job) -> None:
        """A running job is over."""
        self.running.discard(job)
        self.fill()

    def __repr__(self) -> str:
        closed = ", closed" if self.closed else ""
        return f"<Lane {len(self.running)} of {self.limit} running, {len(self.waiting)} waiting{closed}>"
