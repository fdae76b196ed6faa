"""The first call: a user over REST, gRPC and GraphQL, and what a refusal looks like.

With `make dev` in another terminal, and the variables that it prints: `python examples/first_call.py`.
"""

from gateway import Gateway, GraphQLCall, GrpcCall, RestCall
from gateway.errors import ServiceRejectedError

with Gateway.from_env() as gateway:
    reply = gateway.submit(
        RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"}),
        correlation_id="order-42",
        deadline=10.0,
    ).result()
    print("REST:", reply.data["name"], reply.status, f"{reply.timing.total or 0:.3f} s")

    both = gateway.submit_many(
        [
            GrpcCall("user-service", "goodgo.user.v1.UserService/GetUser", {"user_id": "123"}),
            GraphQLCall("user-service", "query($id: ID!) { user(id: $id) { name } }", {"id": "123"}),
        ]
    )
    print("gRPC:", both[0].result().data["user"]["name"])
    print("GraphQL:", both[1].result().data["user"]["name"])

    try:
        gateway.submit(RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "nobody"})).result()
    except ServiceRejectedError as error:
        print("refused:", error.status, error.details["error"]["code"], f"({error.delivery})")
