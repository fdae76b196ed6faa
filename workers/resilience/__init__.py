"""The layers around an attempt. They decide; they know neither transports nor Celery."""
