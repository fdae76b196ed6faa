"""Many calls, while workers are killed and links are reset: nothing is lost, and nothing is sent twice by surprise.

`SOAK_CALLS` and `SOAK_SEED` choose another size, and repeat what was found.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.dev.rabbitmq import RabbitMQ
from tests.faults.fleet import BrokerKind
from tests.faults.matrix.soak import soak
from tests.faults.matrix.table import ROWS

BROKERS: tuple[BrokerKind, ...] = ("redis", "rabbitmq")


@pytest.mark.parametrize("kind", BROKERS)
@pytest.mark.parametrize(
    ("calls", "every_s"),
    [
        pytest.param(3_000, 2.5, id="short", marks=pytest.mark.timeout(240)),
        pytest.param(
            int(os.environ.get("SOAK_CALLS", "100000")),
            5.0,
            id="long",
            marks=[pytest.mark.soak, pytest.mark.timeout(3600)],
        ),
    ],
)
def test_nothing_is_lost_and_nothing_is_sent_twice(
    kind: BrokerKind,
    calls: int,
    every_s: float,
    shared_rabbitmq: Callable[[], RabbitMQ],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seed = int(os.environ.get("SOAK_SEED") or secrets.randbelow(1_000_000))

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)  # noqa: T201 - who waits wants to see it

    rabbitmq = shared_rabbitmq() if kind == "rabbitmq" else None
    row = soak(
        kind,
        tmp_path,
        calls=calls,
        seed=seed,
        rabbitmq=rabbitmq,
        say=say,
        kill_every_s=every_s,
        reset_every_s=(1.4 if calls < 10_000 else 2.0) * every_s,
    )
    ROWS.append(row)
    assert not row.broken, f"SOAK_SEED={seed} SOAK_CALLS={calls} ({tmp_path}):\n" + "\n".join(row.broken)
