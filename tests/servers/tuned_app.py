"""The workers' app with the times that a test shortens, for `celery -A tests.servers.tuned_app worker`.

`TUNED_SOFT_S`: `worker_soft_shutdown_timeout`. `TUNED_VISIBILITY_S`: the broker's `visibility_timeout`. In seconds.
"""

import os

from celery.signals import worker_init

from workers.app import app

__all__ = ["app"]


def _tune(**_: object) -> None:
    if "TUNED_SOFT_S" in os.environ:
        app.conf.worker_soft_shutdown_timeout = float(os.environ["TUNED_SOFT_S"])
    if "TUNED_VISIBILITY_S" in os.environ:
        app.conf.broker_transport_options = {
            **app.conf.broker_transport_options,
            "visibility_timeout": float(os.environ["TUNED_VISIBILITY_S"]),
        }


# After the app's own start-up checks, which refuse such times.
worker_init.connect(_tune, weak=False)
