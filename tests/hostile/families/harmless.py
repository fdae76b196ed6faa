"""What looks hostile and is data: it arrives, encoded, and is nothing else."""

from tests.hostile.case import Call, rest

_QUERIES = {
    "a\r\nHost: evil.example": "a%0D%0AHost%3A+evil.example",
    "../../etc/passwd": "..%2F..%2Fetc%2Fpasswd",
    "a&admin=1": "a%26admin%3D1",
    "a#b": "a%23b",
    "a\0b": "a%00b",
    "http://169.254.169.254/": "http%3A%2F%2F169.254.169.254%2F",
    "\u560d\u560a": "%E5%98%8D%E5%98%8A",
    "${jndi:ldap://evil.example/a}": "%24%7Bjndi%3Aldap%3A%2F%2Fevil.example%2Fa%7D",
}
_PATHS = {
    "a/b": "/users/a%2Fb/x",
    "a?b#c": "/users/a%3Fb%23c/x",
    "@evil.example": "/users/%40evil.example/x",
    "//evil.example": "/users/%2F%2Fevil.example/x",
    "http://evil.example": "/users/http%3A%2F%2Fevil.example/x",
    "{user_id}": "/users/%7Buser_id%7D/x",
    "...": "/users/.../x",
    "a..b": "/users/a..b/x",
}

CASES = [
    *(
        Call(
            family="harmless",
            name=f"query {value!a}",
            call=rest(query={"q": value}),
            harmless=f"GET /users?q={sent} ",
        )
        for value, sent in _QUERIES.items()
    ),
    *(
        Call(
            family="harmless",
            name=f"path {value}",
            call=rest("/users/{user_id}/x", path={"user_id": value}),
            harmless=f"GET {sent} ",
        )
        for value, sent in _PATHS.items()
    ),
    *(
        # A trace never costs a call: what is not one is left out.
        Call(
            family="harmless",
            name=f"{name} {ascii(value)[:40]}",
            call=rest(f"/trace/{name}/{number}"),
            envelope={name: value},
            harmless=f"GET /trace/{name}/{number} ",
        )
        for name in ("traceparent", "tracestate")
        for number, value in enumerate(["a\r\nx-evil: 1", "00-0-0-0\n", "\0", "\u00e9", "x" * 3000])
    ),
]
