"""Lua scripts of the transport: what each takes and returns stands at its top."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

__all__ = ["Script"]


class Script:
    """A script of this package.

    It makes keys from the ones it is given, so all of them must be on one server: Redis Cluster is not supported.

    Args:
        names: of its files, which make one script in this order.
    """

    def __init__(self, *names: str) -> None:
        self.name = names[-1]
        folder = resources.files("workers.broker")
        self.source = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
        # The name by which EVALSHA knows it, not a safeguard.
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()

    def run(self, client: Any, keys: Sequence[str], *args: str | bytes | float) -> Any:
        """Run it through a blocking client.

        Raises:
            redis.RedisError, OSError: the server is away, or refuses.
        """
        try:
            return client.execute_command("EVALSHA", self.sha, len(keys), *keys, *args)
        except NoScriptError:
            # Never seen, or forgotten with a restart: EVAL also teaches it.
            return client.execute_command("EVAL", self.source, len(keys), *keys, *args)

    def __repr__(self) -> str:
        return f"<Script {self.name} {self.sha[:8]}>"
