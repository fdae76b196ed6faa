"""Events for whoever watches: never worth waiting for."""

from typing import Any

from celery.events.dispatcher import EventDispatcher

__all__ = ["FLUSH_AT", "FLUSH_S", "UnhurriedDispatcher"]


#: Seconds that an event may wait for others, and how many go at once whatever the time. A batch costs about as much as
#: one event, and at full speed there are thousands a second.
FLUSH_S, FLUSH_AT = 0.05, 50


class UnhurriedDispatcher(EventDispatcher):
    """Celery's, which tries a heartbeat again without end while the broker does not answer: on the worker's hub.

    What cannot be sent is kept, and goes with the next one. Events of tasks go in batches, see `FLUSH_S`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("buffer_limit", FLUSH_AT)
        super().__init__(*args, **options)

    def _publish(self, event: Any, producer: Any, routing_key: str, retry: bool = False, **options: Any) -> Any:
        """Once."""
        celery: Any = super()
        return celery._publish(event, producer, routing_key, retry=False, **options)
