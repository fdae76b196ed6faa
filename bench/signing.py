"""What proving and checking who asks costs, in CPU of one process: signing, verifying, allowing, sealing, opening.

The keyword arguments are those of an ordinary call, and of one with a body of 10 kB. What is verified is read from JSON
first, as a worker has it, and that is not measured. Each figure is a median of rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from rich.console import Console
from rich.progress import track
from rich.table import Table

from gateway import RestCall
from gateway.codec import encode
from gateway.envelope import Envelope
from gateway.permission import Permissions
from gateway.sealing import Seal, Unsealer
from gateway.signing import sign_message, verify
from gateway.signing_key import SigningKey

_ROOT = Path(__file__).resolve().parent
_BAR_US = 60
_ID = str(uuid4())
_SMALL = RestCall("users", "GET", "/users/{user_id}", path={"user_id": "123"})
_LARGE = RestCall("users", "POST", "/users", json=[{"name": f"user {number}", "n": number} for number in range(350)])
_HMAC = "HMAC: sign, verify and allow"


def _pem(key: Any) -> str:
    text: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return text.decode()


def _works() -> dict[str, Callable[[], object]]:
    secret, pair = SigningKey("s" * 40), SigningKey(_pem(Ed25519PrivateKey.generate()))
    allowed = Permissions(["users GET /users/*", "users POST /users"])
    made: dict[str, Callable[[], object]] = {}
    for size, call in (("", _SMALL), (", 10 kB", _LARGE)):
        now = time.time()
        envelope = Envelope(
            version=1, call=call, correlation_id="order-42", deadline_at=now + 30, sent_at=now, caller="o"
        )
        kwargs = json.loads(json.dumps(encode(envelope)))
        for name, key in (("HMAC", secret), ("Ed25519", pair)):
            text = sign_message(key, "o", _ID, (), kwargs, {}, now=now)

            def sign(key: SigningKey = key, kwargs: Any = kwargs, now: float = now) -> object:
                return sign_message(key, "o", _ID, (), kwargs, {}, now=now)

            def check(
                key: SigningKey = key, kwargs: Any = kwargs, text: str = text, call: RestCall = call, now: float = now
            ) -> object:
                return verify(text, (key,), _ID, (), kwargs, {}, now=now), allowed.rule_for("users", call.operation)

            made[f"{name}: sign{size}"] = sign
            made[f"{name}: verify and allow{size}"] = check
    environ = {"KEY": _pem(X25519PrivateKey.generate())}
    seal, unsealer = Seal("env:KEY", environ), Unsealer(["env:KEY"], environ)
    sealed = seal.close({"authorization": "Bearer " + "t" * 200}, _SMALL, "o")
    made["seal"] = lambda: seal.close({"authorization": "Bearer " + "t" * 200}, _SMALL, "o")
    made["open what is sealed"] = lambda: unsealer.open(sealed, _SMALL, "o")
    return made


def main() -> None:
    """Measure, print a table and write `bench/results/signing.json`; exit with 1 if the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2000, help="calls in a round")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    works = _works()
    figures: dict[str, list[float]] = {name: [] for name in works}
    for _ in track(range(given.rounds), description="rounds"):
        for name, work in works.items():
            began = time.process_time()
            for _ in range(given.calls):
                work()
            figures[name].append((time.process_time() - began) / given.calls * 1e6)
    figures[_HMAC] = [sum(both) for both in zip(figures["HMAC: sign"], figures["HMAC: verify and allow"], strict=True)]
    table = Table(title="CPU of a call")
    for column in ("", "median µs", "min", "max"):
        table.add_column(column, justify="left" if not column else "right")
    for name, values in figures.items():
        table.add_row(name, f"{statistics.median(values):.1f}", f"{min(values):.1f}", f"{max(values):.1f}")
    met = statistics.median(figures[_HMAC]) <= _BAR_US
    Console().print(table, f"{_HMAC}: at most {_BAR_US} µs, {'met' if met else 'MISSED'}")
    path = _ROOT / "results" / "signing.json"
    path.parent.mkdir(exist_ok=True)
    fields = {"work": "who asks", "metric": "CPU a call", "unit": "us"}
    path.write_text(
        json.dumps(
            [
                {**fields, "system": name, "median": round(statistics.median(values), 1)}
                | {"min": round(min(values), 1), "max": round(max(values), 1)}
                for name, values in figures.items()
            ],
            indent=2,
        )
        + "\n"
    )
    raise SystemExit(0 if met else 1)


if __name__ == "__main__":
    main()
