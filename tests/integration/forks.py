"""What a process does that forks with a gateway in use; `python -m tests.integration.forks NAME` does one of it.

A process of its own: gRPC, which the tests' process has loaded, does not survive a fork.
"""

import asyncio
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import redis

from gateway import Gateway, RestCall

GET_ADA = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})
SLOW = RestCall("user-service", "GET", "/users/123", headers={"x-demo-behaviour": "slow=700"})


def gateway_in_use() -> Gateway:
    """With all in use that can be: connections, the waiter's thread, the threads of `asubmit`."""
    with_all = Gateway.from_env()
    asyncio.run(use(with_all))
    assert with_all.celery.AsyncResult(with_all.submit(GET_ADA).id).get(timeout=15)["status"] == 200
    with_all.celery.control.revoke("nobody")
    return with_all


async def use(gateway: Gateway) -> None:
    pending = [await gateway.asubmit(GET_ADA) for _ in range(5)]
    assert [reply.status for reply in await asyncio.gather(*pending)] == [200] * 5
    assert gateway.submit(GET_ADA).result(timeout=15).status == 200
    (many,) = await gateway.asubmit_many([GET_ADA])
    assert (await many).status == 200


def in_child(work: Callable[[], None], *, timeout: float = 30.0) -> Callable[[], None]:
    """Fork, and work in the child. The returned function waits for it, and fails with it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            os.write(write, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(code)
    os.close(write)

    def wait() -> None:
        ends = time.monotonic() + timeout
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > ends:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                os.close(read)
                raise AssertionError("the child hangs")
            time.sleep(0.01)
        said = os.read(read, 5000).decode()
        os.close(read)
        assert status == 0, said

    return wait


def child_and_parent_both_go_on(gateway: Gateway) -> None:
    with gateway:
        ends = [in_child(lambda: asyncio.run(use(gateway))) for _ in range(2)]
        asyncio.run(use(gateway))
        for end in ends:
            end()
        asyncio.run(use(gateway))


def who_waits_in_the_parent_is_not_disturbed(gateway: Gateway) -> None:
    with gateway:
        pending = gateway.submit(SLOW)
        try:
            pending.result(timeout=0.1)
        except TimeoutError:
            pass
        else:
            raise AssertionError("it is too early for a reply")
        future = gateway._waiter.watch(pending.id)

        def child() -> None:
            # The handle works here too, and all that is the parent's may be finalized.
            assert pending.result(timeout=15).status == 200
            gateway.close()
            gc.collect()

        end = in_child(child)
        assert future.result(15)
        end()
        # The parent's waiter hears what comes now over the connection that it has had all along.
        before = _subscribers(gateway)
        later = gateway.submit(SLOW)
        assert later.result(timeout=15).status == 200
        assert _subscribers(gateway) == before


def a_lock_that_was_held_is_new_in_the_child(gateway: Gateway) -> None:
    with gateway:
        with gateway._waiter._lock:
            end = in_child(lambda: asyncio.run(use(gateway)))
            end()
        asyncio.run(use(gateway))


def revoke_and_signatures_work_in_the_child(gateway: Gateway) -> None:
    inherited: tuple[Any, ...] = (gateway.celery.pool, gateway.celery.producer_pool)

    def child() -> None:
        # An AMQP connection that two processes write to is broken for both.
        own: Any = gateway.celery
        assert own.pool is not inherited[0]
        assert own.producer_pool is not inherited[1]
        result = gateway.signature(GET_ADA).apply_async()
        assert result.get(timeout=15)["status"] == 200
        assert gateway.submit(SLOW).cancel()

    with gateway:
        in_child(child)()
        asyncio.run(use(gateway))


def a_closed_gateway_is_closed_in_the_child(gateway: Gateway) -> None:
    gateway.close()

    def child() -> None:
        refused = ""
        try:
            gateway.submit(GET_ADA)
        except RuntimeError as error:
            refused = str(error)
        assert "closed" in refused

    in_child(child)()


def _subscribers(gateway: Gateway) -> set[str]:
    """Ids of the connections that wait for notifications."""
    with redis.Redis.from_url(gateway.settings.result_url) as client:
        channels = client.pubsub_numsub("gateway:waiter")
        assert channels
        return {entry["id"] for entry in client.client_list(_type="pubsub")}


SCENARIOS = (
    child_and_parent_both_go_on,
    who_waits_in_the_parent_is_not_disturbed,
    a_lock_that_was_held_is_new_in_the_child,
    revoke_and_signatures_work_in_the_child,
    a_closed_gateway_is_closed_in_the_child,
)

if __name__ == "__main__":
    (chosen,) = [scenario for scenario in SCENARIOS if scenario.__name__ == sys.argv[1]]
    chosen(gateway_in_use())
