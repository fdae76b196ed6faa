"""Submits many calls at once, from a process of its own: `python -m tests.faults.flood SERVICE PATH COUNT DEADLINE_S`.

It has the environment of a producer, and prints how long it took. In the test's own process it would hold up what the
test measures.
"""

import sys
import time

from gateway import Gateway, RestCall

_CHUNK = 500


def main(service: str, path: str, count: int, deadline_s: float) -> None:
    """Submit them."""
    began = time.monotonic()
    with Gateway.from_env() as gateway:
        for start in range(0, count, _CHUNK):
            calls = [RestCall(service, "GET", path)] * min(_CHUNK, count - start)
            gateway.submit_many(calls, deadline=deadline_s)
    print(f"{count} calls in {time.monotonic() - began:.1f} s", flush=True)  # noqa: T201 - for who reads its log


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
