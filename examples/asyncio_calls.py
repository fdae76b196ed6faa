"""Many calls from an event loop, which is never blocked."""

import asyncio

from gateway import Gateway, RestCall


async def main() -> None:
    with Gateway.from_env() as gateway:
        call = RestCall(
            "user-service",
            "GET",
            "/users/{user_id}",
            path={"user_id": "123"},
            headers={"x-demo-behaviour": "slow=200"},
        )
        pending = await gateway.asubmit_many([call] * 50)
        replies = await asyncio.gather(*pending)
        print(f"{len(replies)} replies, the slowest after {max(reply.timing.total or 0 for reply in replies):.1f} s")


asyncio.run(main())
