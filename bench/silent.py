"""The workers' app without the events that Flower shows: for `bench.observing` alone."""

from workers.app import app

__all__ = ["app"]

app.conf.worker_send_task_events = False
