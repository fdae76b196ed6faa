"""Lua scripts that run in the shared Redis: each decides and writes in one atomic step."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

__all__ = ["Script"]


class Script:
    """A script of this package. It takes one JSON document as `ARGV[1]`, no keys, and returns one JSON text.

    The keys of a script are made from what the document names, so all of them must be on one server: Redis Cluster is
    not supported.

    Args:
        name: of its file, such as `"park.lua"`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._source = resources.files("workers.fleet").joinpath(name).read_text(encoding="utf-8")
        # The name by which EVALSHA knows it, not a safeguard.
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Any, *args: str | bytes) -> bytes:
        """Run it through an asyncio client.

        Raises:
            redis.RedisError, OSError: the server is away, or refuses.
        """
        try:
            answer: bytes = await client.evalsha(self._sha, 0, *args)
        except NoScriptError:
            # Never seen, or forgotten with a restart: EVAL also teaches it.
            answer = await client.eval(self._source, 0, *args)
        return answer

    @staticmethod
    async def run_all(client: Any, steps: "Sequence[tuple[Script, str | bytes]]") -> list[bytes]:
        """Run several in this order and in one round trip, each with its document.

        Raises:
            redis.RedisError, OSError: the server is away, or refuses; earlier ones have had their effect.
        """
        if len(steps) == 1:
            script, document = steps[0]
            return [await script.run(client, document)]
        async with client.pipeline(transaction=False) as pipe:
            for script, document in steps:
                pipe.evalsha(script._sha, 0, document)
            answers: list[Any] = await pipe.execute(raise_on_error=False)
        for position, answer in enumerate(answers):
            if isinstance(answer, NoScriptError):
                script, document = steps[position]
                answers[position] = await script.run(client, document)
            elif isinstance(answer, Exception):
                raise answer
        return answers

    def run_sync(self, client: Any, *args: str | bytes) -> bytes:
        """`run` through a blocking client."""
        try:
            answer: bytes = client.evalsha(self._sha, 0, *args)
        except NoScriptError:
            answer = client.eval(self._source, 0, *args)
        return answer

    def __repr__(self) -> str:
        return f"<Script {self.name} {self._sha[:8]}>"
