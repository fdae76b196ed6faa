"""A worker's own port: `/metrics`, `/livez` and `/readyz`, in a thread that answers whatever the others do."""

from workers.port.step import port_step

__all__ = ["port_step"]
