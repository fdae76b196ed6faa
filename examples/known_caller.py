"""Who asks, and for whom: signed with GATEWAY_CALLER_KEY, for a user whose token only the worker can read."""

from gateway import Gateway, RestCall
from gateway.errors import CallRejectedError

gateway = Gateway.from_env()  # GATEWAY_CALLER and GATEWAY_CALLER_KEY: every call is signed by itself

mine = gateway.submit(
    RestCall("users", "GET", "/users/{user_id}", path={"user_id": "123"}),
    sealed={"authorization": "Bearer the-users-own-token"},
)
print("allowed:", mine.result(timeout=15).status)

try:
    gateway.submit(RestCall("users", "DELETE", "/users/{user_id}", path={"user_id": "123"})).result(timeout=15)
except CallRejectedError as error:
    print("refused:", error.details["reason"], error.delivery)
