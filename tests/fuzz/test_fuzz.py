"""A short look with the fuzzer, the same each time (`make fuzz`: a long one), and entries as hypothesis makes them."""

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import SECRET, Target, make_targets
from tests.fuzz.watch import Defect, Watch

_SEED = 20_240_229
#: Inputs for each percent of a target's share.
_INPUTS = 30
_NAMES = (
    "queue entry",
    "parked message",
    "stored result",
    "dead letter",
    "catalogue",
    "http reply",
    "grpc reply",
    "grpc status",
)


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Target]:
    return {target.name: target for target in make_targets(tmp_path_factory.mktemp("fuzz"))}


@pytest.fixture
def watch() -> Iterator[Watch]:
    with Watch().open() as opened:
        yield opened


def test_no_target_is_forgotten(targets: dict[str, Target]) -> None:
    assert tuple(targets) == _NAMES
    assert sum(target.share for target in targets.values()) == 100


@pytest.mark.parametrize("name", _NAMES)
def test_every_input_ends(targets: dict[str, Target], watch: Watch, name: str) -> None:
    target, mutator = targets[name], Mutator(_SEED)
    for raw in target.seeds:
        watch.run(target, raw)
    assert {ending for _, ending in watch.endings} & {"accepted", "RateLimitedError", "ServiceRejectedError"}, (
        "the seeds are what a valid input looks like"
    )
    for _ in range(target.share * _INPUTS):
        watch.run(target, mutator.mutate(target.seeds))
    assert len(watch.endings) > 1, "all end alike"


_ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_HEADERS = st.sampled_from(
    ["id", "task", "eta", "expires", "timelimit", "group", "retries", "compression", "stamps", "x-delivery-count"]
)
_PROPERTIES = st.sampled_from(["delivery_tag", "delivery_info", "body_encoding", "priority", "correlation_id"])


@settings(max_examples=80)
@given(
    headers=st.dictionaries(_HEADERS, _ANYTHING, max_size=3),
    properties=st.dictionaries(_PROPERTIES, _ANYTHING, max_size=2),
    fields=st.dictionaries(st.sampled_from(["body", "headers", "properties", "content-type"]), _ANYTHING, max_size=1),
    which=st.integers(0, 5),
)
def test_an_entry_with_any_fields_ends(
    targets: dict[str, Target], headers: dict[str, Any], properties: dict[str, Any], fields: dict[str, Any], which: int
) -> None:
    target = targets["queue entry"]
    entry = json.loads(target.seeds[which])
    entry["headers"] |= headers
    entry["properties"] |= properties
    with Watch().open() as watch:
        watch.run(target, json.dumps(entry | fields).encode())


@pytest.mark.parametrize(
    ("name", "raw", "ending"),
    [
        ("parked message", b'{"__type__": "uuid", "__value__": {"hex": 7}}', "ValueError"),
        ("stored result", b'{"status": [1], "result": null}', "GatewayFaultError"),
        ("catalogue", b"a = " + b"9" * 5000, "CatalogueError"),
        ("catalogue", b"a = " + b"[" * 5000, "CatalogueError"),
    ],
)
def test_what_was_once_a_defect_ends(
    targets: dict[str, Target], watch: Watch, name: str, raw: bytes, ending: str
) -> None:
    watch.run(targets[name], raw)
    assert dict(watch.endings) == {(name, ending): 1}


# -- what the watch itself sees ----------------------------------------------------------------------------------------


def _raise(raw: bytes) -> str:
    raise LookupError("of no kind that is expected")


def _tell(raw: bytes) -> str:
    logging.getLogger("gateway").warning("it said %s", SECRET)
    return "accepted"


def _hang(raw: bytes) -> str:
    while True:
        time.sleep(0.01)


@pytest.mark.parametrize(("run", "why"), [(_raise, "came through"), (_tell, "shows the payload"), (_hang, "not end")])
def test_a_defect_is_seen(watch: Watch, monkeypatch: pytest.MonkeyPatch, run: Any, why: str) -> None:
    monkeypatch.setattr("tests.fuzz.watch.BOUND_S", 0.2)
    with pytest.raises(Defect, match=why):
        watch.run(Target("it", 1, [], run), b"input")


def test_the_same_seed_gives_the_same_inputs(tmp_path: Path, targets: dict[str, Target]) -> None:
    seeds = targets["queue entry"].seeds
    one, two, other = Mutator(1), Mutator(1), Mutator(2)
    inputs = [one.mutate(seeds) for _ in range(50)]
    assert inputs == [two.mutate(seeds) for _ in range(50)]
    assert inputs != [other.mutate(seeds) for _ in range(50)]
