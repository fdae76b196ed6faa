"""When Redis, as a broker, takes a call for lost: the one rule, for workers that set it and for whoever explains it."""

from collections.abc import Iterable

from gateway.service import Service

__all__ = ["STORING_S", "longest_total_s", "visibility_timeout_s"]

#: Seconds that an outcome may take to be stored, while the result store is away, before its call is given to another.
STORING_S = 300.0


def longest_total_s(services: Iterable[Service]) -> float:
    """Seconds that a call may spend in workers at the most, `timeouts.total` of any operation; 0 without services."""
    policies = (policy for service in services for policy in (service.policy, *service.operation_policies.values()))
    return max((policy.timeouts.total for policy in policies), default=0.0)


def visibility_timeout_s(services: Iterable[Service]) -> float:
    """Seconds after which a call that no worker has acknowledged is given to another: longer than any call can take."""
    return longest_total_s(services) + STORING_S
