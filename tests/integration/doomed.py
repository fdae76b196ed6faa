"""A consumer that takes messages, says so, and keeps them until it is killed: `python -m … URL QUEUE SILENCE_S`."""

import sys

from tests.integration.taker import Taker

if __name__ == "__main__":
    url, name, silence_s = sys.argv[1:]
    taker = Taker(url, name, consumer_silence=float(silence_s), consumer_beat=float(silence_s) / 5)
    told = 0
    while True:
        taker.hub.run_once()
        for message in taker.got[told:]:
            print(message.payload["n"], flush=True)  # noqa: T201 - its way to tell
        told = len(taker.got)
