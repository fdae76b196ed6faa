"""Events for whoever watches: never worth waiting for."""

from typing import Any

from celery.events.dispatcher import EventDispatcher

__all__ = ["UnhurriedDispatcher"]


class UnhurriedDispatcher(EventDispatcher):
    """Celery's, which tries a heartbeat again without end while the broker does not answer: on the worker's hub.

    What cannot be sent is kept, and goes with the next one.
    """

    def _publish(self, event: Any, producer: Any, routing_key: str, retry: bool = False, **options: Any) -> Any:
        """Once."""
        celery: Any = super()
        return celery._publish(event, producer, routing_key, retry=False, **options)
