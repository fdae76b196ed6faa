"""Celery's maker of messages, which signs the calls that leave a producer."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from celery.app.amqp import AMQP
from kombu.utils.json import dumps, loads

from gateway.clock import process_time
from gateway.codec import TASK
from gateway.signing import SIGNATURE, sign_message, sign_step
from gateway.signing_key import SigningKey

__all__ = ["CallAmqp", "Signer", "name_callbacks"]

#: Of the ids of callbacks.
_CALLBACKS = UUID("0b3b0d52-9a0f-4c3a-8f43-6a54bb6bbf2e")


class Signer:
    """Signs what its callers enqueue.

    Args:
        keys: private keys or secrets, by the name of their caller.
    """

    def __init__(self, keys: Mapping[str, SigningKey]) -> None:
        self._keys = dict(keys)

    def owns(self, kwargs: object) -> bool:
        """Whether these are of a call of one of its callers."""
        return isinstance(kwargs, Mapping) and "version" in kwargs and kwargs.get("caller") in self._keys

    def step(self, kwargs: Mapping[str, Any], call_id: str | None = None) -> dict[str, Any]:
        """Keyword arguments of a call that somebody else enqueues, signed."""
        caller = kwargs["caller"]
        return {**kwargs, SIGNATURE: sign_step(self._keys[caller], caller, call_id, kwargs, now=process_time())}

    def message(
        self, call_id: str, args: Any, kwargs: Mapping[str, Any], embed: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Keyword arguments, and what Celery wires to the call, both signed; the calls in the latter before."""
        wired, caller = self.wired(call_id, embed), kwargs["caller"]
        signature = sign_message(self._keys[caller], caller, call_id, args, kwargs, wired, now=process_time())
        return {**kwargs, SIGNATURE: signature}, wired

    def wired(self, call_id: str, embed: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of what Celery wires to a task, in which each call of its callers is signed anew.

        So a chain that is started twice is two. The copy is what a worker will read: that is what is signed.
        """
        copied: dict[str, Any] = {name: loads(dumps(value)) for name, value in embed.items() if value}
        name_callbacks(call_id, copied)
        self._sign_calls(copied)
        return copied

    def _sign_calls(self, value: Any) -> None:
        if isinstance(value, list):
            for item in value:
                self._sign_calls(item)
        if isinstance(value, dict):
            for item in value.values():
                self._sign_calls(item)
            if value.get("task") == TASK and self.owns(value.get("kwargs")):
                value["kwargs"] = self.step(value["kwargs"], (value.get("options") or {}).get("task_id"))

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"<Signer {', '.join(self._keys)}>"


class CallAmqp(AMQP):
    """`Celery(amqp="gateway.call_amqp:CallAmqp")`; signs if the app has a `call_signer`.

    Every message of a Celery app comes by here, whoever enqueues: `submit`, a signature's `delay`, a chain, a chord.
    """

    def as_task_v2(self, *arguments: Any, **options: Any) -> Any:
        """A message of Celery's task protocol 2."""
        message = super().as_task_v2(*arguments, **options)
        signer: Signer | None = getattr(self.app, "call_signer", None)
        if not signer:
            return message
        call_id, task = message.headers["id"], message.headers["task"]
        args, kwargs, embed = message.body
        if task == TASK and signer.owns(kwargs):
            return message._replace(body=(args, *signer.message(call_id, args, kwargs, embed)))
        # Of another task: the calls that follow it.
        return message._replace(body=(args, kwargs, {**embed, **signer.wired(call_id, embed)}))


def name_callbacks(call_id: str, embed: Mapping[str, Any] | None) -> None:
    """Give callbacks and error callbacks fixed ids, where they have none.

    The tracer enqueues them, and runs again if the broker or the store fails amid. Enqueued twice they are one task.
    """
    for kind in ("callbacks", "errbacks"):
        for number, signature in enumerate((embed or {}).get(kind) or ()):
            options = signature.get("options")
            if isinstance(options, dict):
                options.setdefault("task_id", str(uuid5(_CALLBACKS, f"{call_id} {kind} {number}")))
