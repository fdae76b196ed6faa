"""What names resolve to, for this process: `socket.getaddrinfo` with a table in front of it."""

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

__all__ = ["Names"]


class Names:
    """Answers for the names in its table, each time anew; every other name is resolved as always.

    A name whose entry is a list of lists gets the first list at the first question, the next at the second, and the
    last from then on: that is DNS rebinding.

    Attributes:
        table: name → addresses.
        asked: names, in the order of the questions.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, table: Mapping[str, Sequence[Any]] | None = None) -> None:
        self.table: dict[str, Sequence[Any]] = dict(table or {})
        self.asked: list[str] = []
        real = socket.getaddrinfo

        def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
            name = host.decode() if isinstance(host, bytes) else host
            known = self.table.get(str(name).rstrip("."))
            if known is None:
                return real(host, port, *args, **kwargs)
            self.asked.append(name)
            if known and isinstance(known[0], list):
                at = self.asked.count(name) - 1
                known = known[min(at, len(known) - 1)]
            if not known:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [_info(address, int(port)) for address in known]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def _info(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
