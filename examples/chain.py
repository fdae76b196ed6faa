"""A chain: the user that gRPC returns is the one that REST is asked for; and a chord over two calls."""

from celery import chain, chord

from gateway import Gateway, GrpcCall, RestCall, previous

with Gateway.from_env() as gateway:
    get = gateway.signature(GrpcCall("user-service", "goodgo.user.v1.UserService/GetUser", {"user_id": "123"}))
    same = gateway.signature(
        RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": previous("data.user.id")})
    )
    print("chain:", chain(get, same).apply_async().get(timeout=15)["data"]["email"])

    both = gateway.signature(
        RestCall(
            "user-service", "POST", "/echo", json={"names": [previous("0.data.user.name"), previous("1.data.name")]}
        )
    )
    again = gateway.signature(RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"}))
    print("chord:", chord([get, again], both).apply_async().get(timeout=15)["status"])
