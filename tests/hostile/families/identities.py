"""Who is asked, how, and what goes with it: ids that are headers, services that are addresses, fields that are new."""

from typing import Any

from tests.hostile.case import Call, graphql, rest

_IDS: list[Any] = ["a\r\nx-evil: 1", "a\nb", "a\0b", "\u00e9", " a", "a ", "", "\u560d\u560a", "i" * 201, 7, {"a": "b"}]
_SERVICES: list[Any] = [
    "http://evil.example",
    "//evil.example",
    "users@evil.example",
    "users:80",
    "users/../admin",
    "users#",
    "users\r\n",
    "users\0",
    "USERS",
    "..",
    "",
    "u" * 65,
    "\u2170",
    "127.0.0.1",
    "unknown",
    7,
    None,
]
_METHODS: list[Any] = [
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "GET\r\nx: y",
    "GET /admin HTTP/1.1\r\n",
    " GET",
    "G\u00c9T",
    "",
    7,
]
_FIELDS: dict[str, Any] = {
    "url": "http://evil.example/",
    "base_url": "http://evil.example/",
    "host": "evil.example",
    "proxy": "http://evil.example:3128",
    "verify": False,
    "cert": "/etc/passwd",
    "follow_redirects": True,
    "redirects": 5,
    "auth": ["user", "pass"],
    "cookies": {"a": "b"},
    "timeout": 1e9,
    "files": {"a": "/etc/passwd"},
    "__class__": "os.system",
    "network": {"allow": ["private"]},
}
_ENVELOPES: dict[str, dict[str, Any]] = {
    "no version": {"version": ...},
    "version 0": {"version": 0},
    "version 2": {"version": 2},
    "version '1'": {"version": "1"},
    "version true": {"version": True},
    "deadline 0": {"deadline_s": 0},
    "deadline -1": {"deadline_s": -1},
    "deadline NaN": {"deadline_s": float("nan")},
    "deadline infinite": {"deadline_s": float("inf")},
    "deadline of a year": {"deadline_s": 3e7},
    "deadline '10'": {"deadline_s": "10"},
    "two deadlines": {"deadline_at": 4e9},
    "deadline_at -1": {"deadline_s": ..., "deadline_at": -1},
    "an unknown field": {"admin": True},
    "a call twice": {"call_json": "{}"},
}
_NO_CALLS: list[Any] = [7, None, [], {}, "GET /", ...]
_DOCUMENTS: dict[str, Any] = {
    "empty": "",
    "a number": 7,
    "a subscription": "subscription { x }",
    "not closed": "{ user ",
    "closed twice": "{ user }}",
    "a string that is not closed": '{ user(id: "1) }',
    "two operations": "query A { a } query B { b }",
    "no operation": "fragment A on B { c }",
    "half a character": "{ a } # \ud800",
}

CASES = [
    *(
        Call(family="identities", name=f"{name} {ascii(value)[:40]}", call=rest(), envelope={name: value})
        for name in ("correlation_id", "request_id", "idempotency_key", "caller")
        for value in _IDS
    ),
    *(
        Call(family="identities", name=f"service {ascii(service)[:40]}", call=rest() | {"service": service})
        for service in _SERVICES
    ),
    *(Call(family="identities", name=f"method {ascii(method)[:40]}", call=rest(method=method)) for method in _METHODS),
    *(Call(family="identities", name=f"field {name}", call=rest(**{name: value})) for name, value in _FIELDS.items()),
    *(
        Call(family="identities", name=f"protocol {protocol}", call=rest() | {"protocol": protocol})
        for protocol in ("soap", "", "file", "REST", None, 7)
    ),
    *(Call(family="identities", name=name, call=rest(), envelope=fields) for name, fields in _ENVELOPES.items()),
    *(Call(family="identities", name=f"document: {name}", call=graphql(doc)) for name, doc in _DOCUMENTS.items()),
    *(Call(family="identities", name=f"call {call!a}", call=call) for call in _NO_CALLS),
    *(
        Call(family="identities", name=f"call_json {text!r}", call=..., envelope={"call_json": text})
        for text in ("", "{", "[]", "NaN", "null", '{"protocol":"rest"}', 7)
    ),
]
