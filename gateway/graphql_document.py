"""Just enough of a GraphQL document to name its operation, without a GraphQL library in every producer."""

import re
from functools import lru_cache
from typing import Literal, NamedTuple, Never

from gateway.errors import InvalidCallError

__all__ = ["Operation", "select"]

#: GraphQL specification, section 2.1: what can hide braces and keywords comes first.
_TOKEN = re.compile(
    r'(?P<skip>"""(?:\\"""|[^"]|"(?!""))*"""|"(?:\\.|[^"\\\n])*"|#[^\n]*)|(?P<name>[A-Za-z_]\w*)|(?P<mark>[{}()\[\]])|(?P<rest>"|.)',
    re.ASCII | re.DOTALL,
)
_MAX_LENGTH = 1 << 20


class Operation(NamedTuple):
    """One operation of a document; `name` is empty for an anonymous one."""

    kind: Literal["query", "mutation"]
    name: str


@lru_cache(maxsize=512)
def select(document: str, operation_name: str | None) -> Operation:
    """The operation of the document that will run.

    Raises:
        InvalidCallError: there is none, or more than one to choose from, or it is a subscription.
    """
    if not isinstance(document, str) or not document.strip():
        _refuse("query", "it is empty", "pass a GraphQL document")
    if len(document) > _MAX_LENGTH:
        _refuse("query", f"it is longer than {_MAX_LENGTH} characters", "pass the data as variables")
    operations = _operations(document)
    if not operations:
        _refuse("query", "the document has no operation", "write 'query Name { … }' or 'mutation Name { … }'")
    if operation_name is not None:
        operations = [found for found in operations if found[1] == operation_name]
        if not operations:
            _refuse("operation_name", f"the document has no operation {operation_name!r}", "name one that it has")
    if len(operations) > 1:
        names = ", ".join(name or "(anonymous)" for _, name in operations)
        _refuse("operation_name", f"the document has several operations: {names}", "pass operation_name")
    kind, name = operations[0]
    if kind == "subscription":
        _refuse("query", "a subscription has no single reply", "send a query or a mutation")
    return Operation("mutation" if kind == "mutation" else "query", name)


def _operations(document: str) -> list[tuple[str, str]]:
    """(kind, name) of every operation, in order."""
    operations: list[tuple[str, str]] = []
    open_marks: list[str] = []
    kind: str | None = None  # the definition that we are in, before its selection set
    name = ""
    for token in _TOKEN.finditer(document):
        if token["skip"] is not None:
            continue
        if token["rest"] == '"':
            _refuse("query", "a string in the document is not closed", "close it")
        mark = token["mark"]
        if mark in ("{", "(", "["):
            if mark == "{" and not open_marks:
                if kind != "fragment":
                    operations.append((kind or "query", name))
                kind, name = None, ""
            open_marks.append(mark)
        elif mark is not None:
            if not open_marks or open_marks.pop() + mark not in ("{}", "()", "[]"):
                _refuse("query", f"the document has a {mark!r} too many", "balance the braces")
        elif token["name"] is not None and not open_marks:
            if kind is None:
                kind = token["name"]
                if kind not in ("query", "mutation", "subscription", "fragment"):
                    _refuse("query", f"a document cannot begin a definition with {kind!r}", "write 'query Name { … }'")
                expects_name = True
            elif expects_name and not name:
                name = token["name"]
        elif token["rest"] is not None and token["rest"] in "@$" and not open_marks:
            expects_name = False
    if open_marks or kind is not None:
        _refuse("query", "the document ends inside a definition", "close its braces")
    return operations


def _refuse(field: str, why: str, cure: str) -> Never:
    raise InvalidCallError(f"{field}: {why}; {cure}", field=field, cure=cure)
