"""Who may call what: the lines of `allow` in the catalogue's `[callers.NAME]`.

    "SERVICE OPERATION"

    user-service GET /users/*                       one segment of a route in the place of `*`
    user-service GET /reports/**                    any number of them
    user-service * /users/*                         any method
    user-service goodgo.user.v1.UserService/*       any method of a gRPC service
    user-service query *                            any GraphQL query
    user-service *                                  all that the service can be asked
    billing-* *                                     of all services whose names begin so

A route is compared as it is written in the call, `/users/{user_id}` or `/users/123`: a parameter is one segment, since
its value is percent-encoded. Many frameworks decode a path before they look at its segments: where a slash is encoded,
in a value or in the route, what they read has to be allowed too, see `readings`.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Self
from urllib.parse import unquote

from gateway.call import Call, RestCall

__all__ = ["Permissions", "Rule", "readings"]

_SERVICE = re.compile(r"[a-z0-9*][a-z0-9._*-]*")
_KINDS = ("query", "mutation")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line.

    Attributes:
        line: as it is written.
        service, operation: what it allows, as regular expressions that match whole names.
    """

    line: str
    service: re.Pattern[str]
    operation: re.Pattern[str]

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a line.

        Raises:
            ValueError: it allows nothing that could be asked; says why, and the cure.
        """
        service, *asked = line.split() or [""]
        if not _SERVICE.fullmatch(service):
            raise ValueError(
                f"{service!r} is no service; write 'SERVICE OPERATION', such as 'user-service GET /users/*'"
            )
        match asked:
            case []:
                raise ValueError(f"it names no operation; write '{service} *' to allow all of them")
            case ["*" | "**"]:
                operation = ".*"
            case [method] if re.fullmatch(r"[\w.*]+/[\w*]+", method) and "**" not in method:
                # Without a space: that is REST or GraphQL.
                operation = re.escape(method).replace(r"\*", r"[\w.]*")
            case [kind, name] if kind in _KINDS and "/" not in name:
                # An operation without a name is called by its kind alone.
                operation = f"{kind}( .*)?" if name == "*" else f"{kind} {_glob(name)}"
            case [method, route] if re.fullmatch(r"[A-Z]+|\*", method) and route.startswith("/"):
                operation = f"{'[A-Z]+' if method == '*' else method} {_glob(route)}"
            case _:
                raise ValueError(
                    f"{' '.join(asked)!r} is no operation; write 'GET /users/*', 'package.Service/*', 'query *' or '*'"
                )
        return cls(line, re.compile(_glob(service)), re.compile(operation))

    def allows(self, service: str, operation: str) -> bool:
        """Whether a call of this operation is allowed by it."""
        return bool(self.service.fullmatch(service) and self.operation.fullmatch(operation))

    @property
    def names_a_label(self) -> bool:
        """Whether it names a GraphQL operation: that name is whatever the caller gives its document."""
        return any(self.operation.pattern.startswith(f"{kind} ") for kind in _KINDS)


class Permissions:
    """What one caller may call: nothing but what a line allows.

    Args:
        lines: of `allow`.

    Raises:
        ValueError: a line cannot be read.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.rules = tuple(map(Rule.parse, lines))
        self._known = lru_cache(maxsize=1024)(self._find)

    def rule_for(self, service: str, operation: str) -> Rule | None:
        """The first line that allows it; None: it is not allowed."""
        return self._known(service, operation)

    def _find(self, service: str, operation: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.allows(service, operation)), None)

    def __repr__(self) -> str:
        return f"<Permissions {len(self.rules)} lines>"


#: Decodings one after the other, as many as a path may have at all.
_ROUNDS = 6


def readings(call: Call) -> Iterator[str]:
    """The operations that a call may be read as, by whoever decodes its path: what it is called first.

    Others only where a slash comes out that the call's route does not have: anything else stays within its segment.
    """
    yield call.operation
    if not isinstance(call, RestCall):
        return
    path = call.url_path()
    slashes = path.count("/")
    for _ in range(_ROUNDS):
        further = unquote(path)
        if further == path:
            return
        path = further
        # Also what some servers take for one.
        seen = unicodedata.normalize("NFKC", path).replace("\\", "/")
        if seen.count("/") > slashes:
            yield f"{call.method} {seen}"


#: What stands for something else: any number of segments, one segment, and a part of one.
_WILD = re.compile(r"(?P<many>\*\*)|(?P<segment>(?<=/)(?:\*|\{[^/{}]*\})(?=/|$))|(?P<part>\*)")
_MEANS = {"many": ".+", "segment": "[^/]+", "part": "[^/]*"}


def _glob(text: str) -> str:
    """A regular expression of a pattern; a parameter of a route, `{user_id}`, is any one segment."""
    made, at = [], 0
    for wild in _WILD.finditer(text):
        made += [re.escape(text[at : wild.start()]), _MEANS[wild.lastgroup or ""]]
        at = wild.end()
    return "".join([*made, re.escape(text[at:])])
