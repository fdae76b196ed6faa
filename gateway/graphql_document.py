"""Just enough of a GraphQL document to name its operation, without a GraphQL library in every producer."""

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from gateway.errors import InvalidCallError
from gateway.plain_json import MAX_DEPTH

__all__ = ["Operation", "select"]

#: GraphQL specification, section 2.1: what can hide braces and keywords.
_HIDING = r'''"""(?:[^"\\]|\\"""|\\|"(?!""))*+"""|"(?:[^"\\\n\r]|\\.)*+"|\#[^\n\r]*'''
_MARK = r'(?P<mark>[{}()\[\]])|(?P<open>")'
#: Between definitions, names count; within braces only the braces do.
_OUTSIDE = re.compile(rf"{_HIDING}|{_MARK}|(?P<name>[A-Za-z_]\w*)|(?P<sigil>[@$])", re.ASCII | re.DOTALL)
_INSIDE = re.compile(rf"{_HIDING}|{_MARK}", re.ASCII | re.DOTALL)
#: Characters of a document; it is read on event loops. The longest that people write have a tenth of that.
_MAX_LENGTH = 64 * 1024
#: Longer documents are not remembered: what is cached may stay as long as the process.
_MAX_CACHED = 2 * 1024


class Operation(NamedTuple):
    """One operation of a document; `name` is empty for an anonymous one."""

    kind: Literal["query", "mutation"]
    name: str


def select(document: str, operation_name: str | None) -> Operation:
    """The operation of the document that will run.

    Raises:
        InvalidCallError: there is none, or more than one to choose from, or it is a subscription; or the document is
            longer than 65,536 characters, or nested deeper than 100 levels.
    """
    if not isinstance(document, str) or not document.strip():
        raise InvalidCallError.because("query", "it is empty", "pass a GraphQL document")
    if operation_name is not None and not isinstance(operation_name, str):
        raise InvalidCallError.because(
            "operation_name", f"{type(operation_name).__name__} is no name", "pass the operation's name, or None"
        )
    if not document.isascii() and any("\ud800" <= character <= "\udfff" for character in document):
        raise InvalidCallError.because(
            "query", "it is not valid Unicode (a lone surrogate)", "pass text that UTF-8 can encode"
        )
    if len(document) > _MAX_LENGTH:
        raise InvalidCallError.because(
            "query", f"it is longer than {_MAX_LENGTH} characters", "pass the data as variables"
        )
    if len(document) > _MAX_CACHED:
        return _select(document, operation_name)
    return _select_cached(document, operation_name)


def _select(document: str, operation_name: str | None) -> Operation:
    operations = _operations(document)
    if not operations:
        raise InvalidCallError.because(
            "query", "the document has no operation", "write 'query Name { … }' or 'mutation Name { … }'"
        )
    if operation_name is not None:
        operations = [found for found in operations if found[1] == operation_name]
        if not operations:
            raise InvalidCallError.because(
                "operation_name", f"the document has no operation {operation_name!r}", "name one that it has"
            )
    if len(operations) > 1:
        names = ", ".join(name or "(anonymous)" for _, name in operations)
        raise InvalidCallError.because(
            "operation_name", f"the document has several operations: {names}", "pass operation_name"
        )
    kind, name = operations[0]
    if kind == "subscription":
        raise InvalidCallError.because("query", "a subscription has no single reply", "send a query or a mutation")
    return Operation("mutation" if kind == "mutation" else "query", name)


_select_cached = lru_cache(maxsize=512)(_select)


def _operations(document: str) -> list[tuple[str, str]]:
    """(kind, name) of every operation, in order."""
    operations: list[tuple[str, str]] = []
    open_marks: list[str] = []
    kind: str | None = None  # the definition that we are in, before its selection set
    name = ""
    position = 0
    while token := (_INSIDE if open_marks else _OUTSIDE).search(document, position):
        position = token.end()
        if token["open"] is not None:
            raise InvalidCallError.because("query", "a string in the document is not closed", "close it")
        mark = token["mark"]
        if mark in ("{", "(", "["):
            if mark == "{" and not open_marks:
                if kind != "fragment":
                    operations.append((kind or "query", name))
                kind, name = None, ""
            open_marks.append(mark)
            if len(open_marks) > MAX_DEPTH:
                raise InvalidCallError.because(
                    "query", f"it is nested deeper than {MAX_DEPTH} levels", "use fragments, or a flatter query"
                )
        elif mark is not None:
            if not open_marks or open_marks.pop() + mark not in ("{}", "()", "[]"):
                raise InvalidCallError.because("query", f"the document has a {mark!r} too many", "balance the braces")
        elif open_marks:
            continue
        elif token["name"] is not None:
            if kind is None:
                kind = token["name"]
                if kind not in ("query", "mutation", "subscription", "fragment"):
                    raise InvalidCallError.because(
                        "query", f"a document cannot begin a definition with {kind!r}", "write 'query Name { … }'"
                    )
                expects_name = True
            elif expects_name and not name:
                name = token["name"]
        elif token["sigil"] is not None:
            expects_name = False
    if open_marks or kind is not None:
        raise InvalidCallError.because("query", "the document ends inside a definition", "close its braces")
    return operations
