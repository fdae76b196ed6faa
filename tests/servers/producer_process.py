"""A producer in a process of its own: `python -m tests.servers.producer_process FILE BELOW RATE DEADLINE_S`.

Submits a steady mix of calls for paths below BELOW until SIGTERM, waits for their outcomes, and writes all that it was
told into FILE: a pickled list of `Made`. Says when calls flow.
"""

import pickle
import signal
import sys
import threading
import time
from pathlib import Path

from gateway import Gateway
from tests.faults.matrix.traffic import MARGIN_S, Traffic


def produce(file: Path, below: str, rate: float, deadline_s: float) -> None:
    """Until SIGTERM, and until the last outcome."""
    asked_to_stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.set())
    traffic = Traffic(Gateway.from_env(), rate=rate, deadline_s=deadline_s, seed=2, below=below)
    traffic.start()
    said = False
    while not asked_to_stop.wait(0.05):
        if not said and traffic.replies() > 3:
            print("calls flow", flush=True)  # noqa: T201 - its parent waits for it
            said = True
    traffic.stop()
    ends = time.monotonic() + deadline_s + MARGIN_S + 45.0
    # No `time.sleep`: libfaketime turns its absolute times into ones that the kernel refuses.
    again = threading.Event()
    while traffic.open() and time.monotonic() < ends:
        again.wait(0.05)
    part = file.with_suffix(".part")
    part.write_bytes(pickle.dumps(traffic.made))
    part.rename(file)
    traffic.close()


if __name__ == "__main__":
    produce(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
