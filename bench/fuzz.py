"""Fuzzing from the wire inward: as many wrong inputs as asked for. Ends with 1 at a defect, and keeps its input.

Run it with `make fuzz`, or `python -m bench.fuzz --help`.
"""

import argparse
import faulthandler
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import Target, make_targets
from tests.fuzz.watch import BOUND_S, Defect, Watch, resident_mb

_TOLD_EVERY_S = 5.0
#: What the process may grow by, whatever the number of inputs.
_MOST_GROWTH_MB = 300.0
_WARM_UP = 5000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run, to see it again")
    parser.add_argument("--target", default="", help="only targets with this in their name")
    parser.add_argument("--input", type=Path, default=None, help="run this one input of one target, and no other")
    options = parser.parse_args()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="gateway-fuzz-") as folder:
        targets = [target for target in make_targets(Path(folder)) if options.target in target.name]
        if not targets or (options.input is not None and len(targets) != 1):
            parser.error("--target names none, or with --input not exactly one")
        try:
            with Watch().open() as watch:
                if options.input is not None:
                    watch.run(targets[0], options.input.read_bytes())
                else:
                    _fuzz(watch, targets, options.inputs, seed)
        except Defect as defect:
            kept = Path(tempfile.gettempdir()) / f"gateway-fuzz-{defect.target.name.replace(' ', '-')}-{seed}.bin"
            kept.write_bytes(defect.raw)
            print(f"\nDEFECT with seed {seed}: {defect}", file=sys.stderr)
            print(f"python -m bench.fuzz --target '{defect.target.name}' --input {kept}", file=sys.stderr)
            raise SystemExit(1) from defect.__cause__
    return 0


def _fuzz(watch: Watch, targets: list[Target], inputs: int, seed: int) -> None:
    print(f"{inputs:,} inputs, seed {seed}: {', '.join(target.name for target in targets)}", flush=True)
    mutator = Mutator(seed)
    shares = [target.share for target in targets]
    began = told = time.monotonic()
    for target in targets:
        for raw in target.seeds:
            watch.run(target, raw)
    for done in range(1, inputs + 1):
        (target,) = mutator.random.choices(targets, shares)
        watch.run(target, mutator.mutate(target.seeds))
        if done == min(_WARM_UP, inputs):
            at_first = resident_mb()
        if done % 256 == 0:
            # Should something hang where no signal is heard, such as in a library of C's.
            faulthandler.dump_traceback_later(256 * BOUND_S, exit=True)
            now = time.monotonic()
            if now - told >= _TOLD_EVERY_S:
                told = now
                print(f"{done:>12,}  {done / (now - began):,.0f} inputs/s  {resident_mb():.0f} MB", flush=True)
    took = time.monotonic() - began
    for target in targets:
        endings = sorted(((count, name) for (of, name), count in watch.endings.items() if of == target.name))[::-1]
        total = sum(count for count, _ in endings)
        print(f"{target.name:>16} {total:>10,}  " + ", ".join(f"{name} {count:,}" for count, name in endings))
    grown = resident_mb() - at_first
    print(f"{inputs:,} inputs in {took:.0f} s, {inputs / took:,.0f}/s; no crash, no hang; grown by {grown:.0f} MB")
    if grown > _MOST_GROWTH_MB:
        raise SystemExit(f"the process grew by {grown:.0f} MB, more than {_MOST_GROWTH_MB:.0f}")


if __name__ == "__main__":
    sys.exit(main())
