"""The operation of a GraphQL document: what is found, and what finding it may cost."""

import gc
import tracemalloc
from time import perf_counter

import pytest

from gateway.errors import InvalidCallError
from gateway.graphql_document import select

#: The longest document that is accepted.
LONGEST = 64 * 1024


@pytest.mark.parametrize(
    ("document", "wanted", "found"),
    [
        ("{ a }", None, ("query", "")),
        ("query A { a }", None, ("query", "A")),
        ("mutation B($x: [Int!] = [1]) @d(a: {b: 1}) { a(x: $x) }", None, ("mutation", "B")),
        ("query ($x: Int) @named { a }", None, ("query", "")),
        ("query A { a } mutation B { b }", "B", ("mutation", "B")),
        ("fragment F on T { a } query A { ...F }", None, ("query", "A")),
        ('# } mutation\nquery A { a(b: "}", c: "\\"}", d: """ } \\""" " "" } """) }', None, ("query", "A")),
        ('query A { a(b: "") } # query B { b }', None, ("query", "A")),
        ("query query { query mutation }", None, ("query", "query")),
        ("\ufeffquery,A,{,a,}", None, ("query", "A")),
    ],
)
def test_an_operation(document: str, wanted: str | None, found: tuple[str, str]) -> None:
    assert select(document, wanted) == found


@pytest.mark.parametrize(
    ("document", "wanted", "why"),
    [
        ("", None, "it is empty"),
        (" \n", None, "it is empty"),
        ("fragment F on T { a }", None, "no operation"),
        ("query A { a } query B { b }", None, "several operations: A, B"),
        ("query A { a }", "B", "no operation 'B'"),
        ("subscription { a }", None, "no single reply"),
        ("query A { a(b: [1}) }", None, "too many"),
        ("query A { a } }", None, "too many"),
        ("query A { a", None, "ends inside"),
        ('query A { a(b: "x) }', None, "not closed"),
        ('query A { a(b: """x\\""") }', None, "not closed"),
        ("select A { a }", None, "cannot begin"),
        ("{ " + "a " * LONGEST + "}", None, "longer than 65536"),
    ],
)
def test_a_document_without_one(document: str, wanted: str | None, why: str) -> None:
    with pytest.raises(InvalidCallError, match=why):
        select(document, wanted)


@pytest.mark.parametrize(
    ("head", "piece", "tail"),
    [
        ("query A {", " ", "}"),
        ("query A {", "field ", "}"),
        ("query A {", "a{b}", "}"),
        ("query A { a(b:", '"x"', ") }"),
        ('query A { a(b: """', '"" ', '""") }'),
        ("", "fragment F on B{a} ", "query A { a }"),
        ("#", "x", "\nquery A { a }"),
    ],
    ids=["spaces", "fields", "braces", "strings", "quotes", "fragments", "comment"],
)
def test_the_longest_document_costs_little(head: str, piece: str, tail: str) -> None:
    document = head + piece * ((LONGEST - len(head) - len(tail)) // len(piece)) + tail
    best = min(_seconds(document) for _ in range(3))
    assert best < 0.05


def _seconds(document: str) -> float:
    began = perf_counter()
    assert select(document, None).name == "A"
    return perf_counter() - began


def test_long_documents_are_not_kept() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(60):
            assert select(f"query A{number} {{ {'a ' * 32_000} }}", None).name == f"A{number}"
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 500_000
    finally:
        tracemalloc.stop()


def test_short_documents_are_read_once() -> None:
    document = "query Once { a }"
    assert select(document, None) is select(document, None)
