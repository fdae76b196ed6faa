"""Whoever is not who he says, on a real worker with callers: each is rejected, and nothing arrives at the service."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from joserfc import jws

from gateway import RestCall
from gateway.dev.valkey import Valkey
from gateway.errors import CallRejectedError
from gateway.signing_key import SigningKey
from tests.hostile.case import Signature
from tests.hostile.families import cases
from tests.integration.callers_stack import ALGORITHMS, ORDERS, CallersStack, body_of, with_body

SIGNATURES = cases(Signature)


@dataclass(frozen=True)
class Given:
    """What a case makes its signature of."""

    text: str
    public: str
    key: SigningKey

    def sign(self, claims: Any) -> str:
        """Any claims, with the caller's own key."""
        payload = claims if isinstance(claims, bytes) else msgspec.json.encode(claims)
        header = {"alg": self.key.algorithm, "typ": "gateway-call+jwt"}
        return jws.serialize_compact(header, payload, self.key.key, algorithms=[self.key.algorithm])


@pytest.fixture(scope="module")
def callers(valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CallersStack]:
    with CallersStack(valkey, tmp_path_factory.mktemp("callers")) as made:
        yield made


def put(callers: CallersStack, caller: str, case: Signature, path: str) -> Any:
    """Enqueue a call with that signature; its handle."""
    message = callers.capture(callers.known(caller), RestCall("users", "POST", path, json={"amount": 1}))
    body = body_of(message)
    key = SigningKey(ORDERS if caller == "orders" else callers.billing)
    given = Given(body[1]["signature"], callers.environment["BILLING_KEY"], key)
    signature = case.make(given)
    # What is the same by chance is no attack.
    assert case.caller is not ... or signature != given.text
    body[1]["signature"] = signature
    if case.caller is not ...:
        body[1]["caller"] = "orders" if case.caller == caller else case.caller
    callers.enqueue(with_body(message, body))
    return callers.pending(message)


@pytest.mark.parametrize("caller", ALGORITHMS)
def test_each_is_rejected_and_nothing_arrives(callers: CallersStack, caller: str) -> None:
    path = f"/users/signatures-{caller}"
    handles = {case.name: put(callers, caller, case, path) for case in SIGNATURES}
    wrong = {}
    for name, handle in handles.items():
        try:
            outcome: Any = handle.result(timeout=30)
        except CallRejectedError as error:
            if error.delivery != "not_sent" or not isinstance(error.details, dict):
                wrong[name] = error
            continue
        except Exception as error:
            outcome = error
        wrong[name] = outcome
    assert wrong == {}
    assert callers.service.arrivals(path) == []
    # And one that is right is done.
    good = callers.capture(callers.known(caller), RestCall("users", "POST", path, json={"amount": 1}))
    callers.enqueue(good)
    assert callers.pending(good).result(timeout=30).status == 200
    assert len(callers.service.arrivals(path)) == 1
