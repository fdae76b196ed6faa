"""The Celery pool of the workers: `worker_pool = "workers.pool:AsyncioPool"`.

`asyncio_pool` has the whole; the parts are its threads (`loop`, `tracer`), what passes between them (`bell`, `lane`,
`jobs`), and how it ends (`drain`, `ending`, `revoke`).
"""

from workers.pool.asyncio_pool import AsyncioPool

__all__ = ["AsyncioPool"]
