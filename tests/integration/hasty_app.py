"""The workers' app with a heartbeat of a second, for `celery -A tests.integration.hasty_app worker`."""

from workers.app import app

__all__ = ["app"]

app.conf.broker_heartbeat = 1.0
