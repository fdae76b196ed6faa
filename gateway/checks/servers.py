"""Broker and result store: whether they answer, and whether calls and results are safe there."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from gateway.broker import BROKER_ERRORS
from gateway.checks.clock import check_clock
from gateway.checks.eviction import check_eviction
from gateway.checks.finding import Finding, Level
from gateway.checks.memory import check_memory
from gateway.checks.persistence import check_persistence
from gateway.checks.rabbitmq import check_rabbitmq
from gateway.checks.reach import not_reached, reach_redis
from gateway.checks.redis_report import RedisReport
from gateway.checks.together import together
from gateway.checks.visibility import check_consumer_timeout
from gateway.service import Service
from gateway.settings import Settings

__all__ = ["check_servers"]

_BROKER, _RESULTS = "broker", "result store"
_BROKER_URL, _RESULT_URL = "GATEWAY_BROKER_URL", "GATEWAY_RESULT_URL"
#: Seconds for all of it.
_WITHIN_S = 5.0
_AGAIN_S = 0.2

_Found: TypeAlias = RedisReport | list[Finding]


def check_servers(
    settings: Settings,
    services: Sequence[Service],
    environ: Mapping[str, str],
    *,
    starting: bool,
    patience_s: float = 0.0,
    wall: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    """Ask both at once. Takes five seconds at the most.

    Args:
        settings: where they are.
        services: of the catalogue.
        environ: has `GATEWAY_ALLOW_EVICTION`.
        starting: a worker asks, which may start although RabbitMQ takes no new calls.
        patience_s: for how long one that does not answer is asked again.
        wall: this host's clock.
    """

    def redis(what: str, variable: str, url: str) -> Callable[[], _Found]:
        def look() -> _Found:
            found = reach_redis(what, variable, url, patience_s=patience_s, wall=wall)
            return [found] if isinstance(found, Finding) else found

        return look

    def rabbitmq() -> _Found:
        ends_at = time.monotonic() + patience_s
        while True:
            try:
                return [*check_rabbitmq(settings.broker_url, starting=starting), *check_consumer_timeout(services)]
            except BROKER_ERRORS as error:
                if time.monotonic() + _AGAIN_S > ends_at:
                    return [not_reached(_BROKER, _BROKER_URL, error)]
            time.sleep(_AGAIN_S)

    looks: dict[str, Callable[[], _Found]] = {_RESULTS: redis(_RESULTS, _RESULT_URL, settings.result_url)}
    if settings.broker_is_amqp:
        looks = {_BROKER: rabbitmq, **looks}
    elif settings.broker_url == settings.result_url:
        both = f"{_BROKER} and {_RESULTS}"
        looks = {both: redis(both, _BROKER_URL, settings.result_url)}
    else:
        looks = {_BROKER: redis(_BROKER, _BROKER_URL, settings.broker_url), **looks}
    known: set[str] = set()
    for what, found in zip(looks, together(list(looks.values()), within_s=_WITHIN_S), strict=True):
        if found is None:
            yield Finding(
                level=Level.ERROR,
                what=what,
                found=f"gave no answer in {_WITHIN_S:g} s",
                cure="see whether it hangs, and whether a firewall drops what is sent to it",
            )
        elif isinstance(found, list):
            yield from found
        else:
            yield from _state(what, found, environ, is_known=found.server in known)
            known.add(found.server)
            if what != _BROKER:
                yield from check_clock(found.ahead_s)


def _state(what: str, report: RedisReport, environ: Mapping[str, str], *, is_known: bool) -> Iterator[Finding]:
    """Of a server; what holds for all its databases is said once."""
    keeps = ", and evicts nothing" if report.policy == "noeviction" else ""
    yield Finding(level=Level.OK, what=what, found=f"Redis {report.version} answers{keeps}")
    if not is_known:
        yield from check_eviction(what, report, environ)
        yield from check_persistence(what, report)
        yield from check_memory(what, report)
