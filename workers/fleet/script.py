"""Lua scripts that run in the shared Redis: each decides and writes in one atomic step."""

import hashlib
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

__all__ = ["Script"]


class Script:
    """A script of this package. It takes one JSON document as `ARGV[1]`, no keys, and returns one JSON text.

    Several names make one script that runs their files in this order, each with a document of its own, or not at all
    where that is empty; it returns a list of texts.

    The keys of a script are made from what the document names, so all of them must be on one server: Redis Cluster is
    not supported.

    Args:
        names: of its files, such as `"park.lua"`.
    """

    def __init__(self, *names: str) -> None:
        self.name = " and ".join(names)
        files = [resources.files("workers.fleet").joinpath(name).read_text(encoding="utf-8") for name in names]
        self._source = files[0] if len(files) == 1 else _joined(files)
        # The name by which EVALSHA knows it, not a safeguard.
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Any, *args: str | bytes) -> Any:
        """Run it through an asyncio client.

        Raises:
            redis.RedisError, OSError: the server is away, or refuses.
        """
        try:
            return await client.evalsha(self._sha, 0, *args)
        except NoScriptError:
            # Never seen, or forgotten with a restart: EVAL also teaches it.
            return await client.eval(self._source, 0, *args)

    def run_sync(self, client: Any, *args: str | bytes) -> Any:
        """`run` through a blocking client."""
        try:
            return client.evalsha(self._sha, 0, *args)
        except NoScriptError:
            return client.eval(self._source, 0, *args)

    def __repr__(self) -> str:
        return f"<Script {self.name} {self._sha[:8]}>"


def _joined(files: list[str]) -> str:
    """One script of several: each file becomes a function of its document, under the name that the file reads."""
    steps = "\n".join(
        f"answers[{number}] = ARGV[{number}] == '' and '' or (function(ARGV)\n{source}\nend)({{ARGV[{number}]}})"
        for number, source in enumerate(files, 1)
    )
    return f"local answers = {{}}\n{steps}\nreturn answers\n"
