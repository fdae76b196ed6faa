"""Who may have a call executed: the callers of the catalogue, their keys, and what each may call."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.catalogue import Catalogue
from gateway.clock import FleetClock
from gateway.codec import TASK
from gateway.envelope import Envelope
from gateway.errors import CallRejectedError
from gateway.permission import Permissions, readings
from gateway.signing import SIGNATURE, Claims, SignatureProblem, verify
from gateway.signing_key import KeyProblem, SigningKey, read_key

__all__ = ["Callers"]

_log = logging.getLogger("gateway.callers")

_NONE = "[callers.NAME] in the catalogue"


class Callers:
    """Decides by the message alone, before anything else is read of it. No I/O but for the keys, on construction.

    As long as the catalogue has no caller, everybody is believed.

    Args:
        catalogue: has the callers.
        environ: where their keys are.
        clock: the fleet's time.

    Raises:
        KeyProblem: a key cannot be had; names the caller.
    """

    def __init__(self, catalogue: Catalogue, environ: Mapping[str, str], clock: FleetClock) -> None:
        self._clock = clock
        self._keys: dict[str, tuple[SigningKey, ...]] = {}
        self._permissions: dict[str, Permissions] = {}
        for name, caller in catalogue.callers.items():
            try:
                self._keys[name] = tuple(read_key(reference, environ) for reference in caller.references)
            except KeyProblem as problem:
                raise KeyProblem(f"callers.{name}.key: {problem}") from None
            self._permissions[name] = Permissions(caller.allow)

    @property
    def trusts_all(self) -> bool:
        """Whether there is no caller, so that whoever reaches the broker may call."""
        return not self._keys

    def weak(self) -> list[str]:
        """Callers with a secret that is short enough to be guessed."""
        return [name for name, keys in self._keys.items() if any(key.is_weak for key in keys)]

    def verify(
        self, call_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], embed: Mapping[str, Any]
    ) -> Claims | None:
        """The claims of the call's signature; None if nobody has to sign.

        Raises:
            CallRejectedError: it is not signed by a caller that this gateway knows; `details["reason"]` is one word.
        """
        if self.trusts_all:
            return None
        caller, text = kwargs.get("caller"), kwargs.get(SIGNATURE)
        known = isinstance(caller, str) and caller in self._keys
        try:
            if not isinstance(text, str):
                raise SignatureProblem("unsigned", "it has no signature; set GATEWAY_CALLER and GATEWAY_CALLER_KEY")
            if not known:
                raise SignatureProblem("unknown", f"there is no such caller; add it as {_NONE}, or correct its name")
            keys = self._keys[str(caller)]
            return verify(text, keys, call_id, args, kwargs, embed, now=self._clock.now())
        except SignatureProblem as problem:
            raise rejection(problem.reason, str(problem), str(caller) if known else None) from None

    def authorise(self, envelope: Envelope) -> None:
        """Let a verified call through that its caller may make.

        Raises:
            CallRejectedError: it may not.
        """
        if self.trusts_all:
            return
        call, caller = envelope.call, str(envelope.caller)
        for operation in readings(call):
            if self._permissions[caller].rule_for(call.service, operation) is not None:
                continue
            # What is not called so is not told: its values may be anybody's.
            why = (
                ""
                if operation == call.operation
                else ", whose path can be read as another one: it has an encoded slash"
            )
            raise rejection(
                "forbidden",
                f"{caller} may not call {call.service} {call.operation}{why}; allow it in [callers.{caller}]",
                caller,
                service=call.service,
                operation=call.operation,
            )

    def say(self) -> None:
        """Tell the operator at start whom this worker believes."""
        if self.trusts_all:
            _log.warning(
                "THIS WORKER TRUSTS EVERYBODY ON THE BROKER: no caller is configured, so whoever can enqueue %s calls"
                " any service with the gateway's credentials; add %s",
                TASK,
                _NONE,
            )
        for name in self.weak():
            _log.warning("callers.%s: its key is shorter than 32 bytes and could be guessed; use a longer one", name)

    def __repr__(self) -> str:
        return f"<Callers {', '.join(self._keys) or 'everybody'}>"


def rejection(reason: str, why: str, caller: str | None, **fields: Any) -> CallRejectedError:
    """The error of a call that the gateway does not make.

    Args:
        reason: one word, for counting.
        why: for people.
        caller: if it is one of the catalogue's.
        fields: of the error.
    """
    return CallRejectedError(f"the call was rejected: {why}", details={"reason": reason, "caller": caller}, **fields)
