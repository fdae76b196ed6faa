"""The fault matrix: every fault on every broker on which it means something."""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.dev.rabbitmq import RabbitMQ
from tests.faults.fleet import BrokerKind
from tests.faults.matrix.fault import Fault, load_faults
from tests.faults.matrix.scene import perform
from tests.faults.matrix.table import ROWS

#: redis-py forgets the writer of a connection that was lost while it wrote.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")


def _cases() -> list[object]:
    return [
        pytest.param(
            fault,
            kind,
            id=f"{fault.name} - {kind}",
            marks=[pytest.mark.timeout(fault.timeout_s), *([] if kind in fault.quick else [pytest.mark.slow])],
        )
        for fault in load_faults()
        for kind in fault.brokers
    ]


@pytest.mark.matrix
@pytest.mark.parametrize(("fault", "kind"), _cases())
def test_the_promises_hold(
    fault: Fault, kind: BrokerKind, shared_rabbitmq: Callable[[], RabbitMQ], tmp_path: Path
) -> None:
    rabbitmq = shared_rabbitmq() if kind == "rabbitmq" else None
    row = perform(fault, kind, tmp_path, rabbitmq)
    ROWS.append(row)
    assert not row.broken, f"{fault.name} on {kind} ({tmp_path}):\n" + "\n".join(row.broken)
