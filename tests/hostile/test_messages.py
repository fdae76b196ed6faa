"""Hostile messages straight onto the broker: none is loaded by anything but JSON, each is kept as a dead letter."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.dead_letters import DeadLetters
from gateway.errors import InvalidCallError
from tests.hostile.case import Message
from tests.hostile.families import cases
from tests.hostile.families.messages import CASES, RUN, pickles
from tests.hostile.scene import Scene

MESSAGES = cases(Message)
#: What the worker may need beside what it had before. Unpacked without a bound, the bombs take more than 2 GiB.
_MEMORY_MIB = 600


@pytest.fixture(scope="module")
def outcomes(scene: Scene) -> dict[int, Any]:
    scene.canaries()
    before = scene.peak_mib()
    ids = {id(message): scene.put_message(message) for message in MESSAGES}
    ended = {key: (call_id, scene.outcome(call_id)) for key, call_id in ids.items()}
    scene.canaries()
    assert scene.peak_mib() - before < _MEMORY_MIB
    return ended


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_it_ends_as_a_typed_error(message: Message, outcomes: dict[int, Any]) -> None:
    _, outcome = outcomes[id(message)]
    assert isinstance(outcome, InvalidCallError), repr(outcome)[:500]
    assert outcome.message.isprintable()
    assert len(outcome.message) < 1000


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_it_is_kept_as_a_dead_letter(message: Message, outcomes: dict[int, Any], scene: Scene) -> None:
    call_id, _ = outcomes[id(message)]
    with DeadLetters.open(scene.gateway.settings.result_url) as letters:
        assert letters.find(call_id) is not None


def test_no_code_ran_nothing_arrived_and_the_worker_lives(outcomes: dict[int, Any], scene: Scene) -> None:
    assert outcomes
    assert not scene.marker.exists()
    # The canaries before and after: two each of HTTP.
    assert len(scene.users.heads) == 4
    assert len(scene.rpc.rpcs) == 2
    assert scene.elsewhere.connections == 0
    assert scene.worker.exit_code is None
    assert CASES


@pytest.mark.parametrize("name", sorted(pickles()))
def test_what_was_sent_does_run_where_it_is_loaded(name: str, tmp_path: Path) -> None:
    """Else it would prove nothing that it did not."""
    marker = tmp_path / "it-ran"
    subprocess.run(
        [sys.executable, "-c", "import pickle, sys; pickle.load(sys.stdin.buffer)"],
        input=pickles()[name],
        env={**os.environ, "HOSTILE_MARKER": str(marker)},
        check=True,
    )
    assert marker.exists()
    assert RUN.encode() in pickles()[name]
    assert pickle.HIGHEST_PROTOCOL >= 5
