"""Where secrets are looked for: each function gives `(place, content)` of all that one part of the system shows."""

import re
import urllib.error
from collections.abc import Iterator, Sequence
from typing import Any

import redis
from click.testing import CliRunner

from gateway.cli import main
from gateway.dev.flower import Flower

__all__ = ["command_output", "every_key", "every_page"]


def every_key(url: str) -> Iterator[tuple[str, bytes]]:
    """Names and values of all keys, in all databases."""
    for number in range(16):
        with redis.Redis.from_url(f"{url.rsplit('/', 1)[0]}/{number}") as client:
            for key in client.scan_iter(count=1000):
                yield f"redis {number} key", key
                yield f"redis {number} {key[:80].decode('utf-8', 'replace')}", repr(_value(client, key)).encode()


def _value(client: Any, key: bytes) -> Any:
    match client.type(key):
        case b"string":
            return client.get(key)
        case b"hash":
            return client.hgetall(key)
        case b"list":
            return client.lrange(key, 0, -1)
        case b"set":
            return client.smembers(key)
        case b"zset":
            return client.zrange(key, 0, -1, withscores=True)
        case b"stream":
            return client.xrange(key)
        case other:
            raise AssertionError(f"what is a {other!r}?")


#: What Flower serves and no page links to.
_ROUTES = (
    *("/", "/workers", "/tasks", "/broker", "/metrics", "/healthcheck", "/api/workers?refresh=1"),
    *(
        "/api/tasks?limit=100000",
        "/api/task/types",
        "/api/queues/length",
        "/tasks/datatable?draw=1&start=0&length=1000",
    ),
)


def every_page(flower: Flower, call_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    """All routes of Flower, and whatever its pages link to."""
    waiting = [*_ROUTES, *(f"/{kind}/{call_id}" for call_id in call_ids for kind in ("task", "api/task/info"))]
    waiting += [f"/api/task/result/{call_id}" for call_id in call_ids[:3]]
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        try:
            text = flower.page(path)
        except urllib.error.HTTPError as error:
            with error:
                text = error.read().decode("utf-8", "replace")
        yield f"flower {path}", text
        links = re.findall(r'(?:href|src)="(/[^"#]*)"', text)
        waiting += [link for link in links if "logout" not in link and not link.startswith("/static")]


def command_output(environ: dict[str, str], call_ids: Sequence[str], service: str) -> Iterator[tuple[str, str]]:
    """What every command prints where workers run."""
    about = [(service, "GET", "/say/200/json")]
    commands: list[tuple[str, ...]] = [
        *((name, *more) for name in ("services", "callers", "breakers", "doctor") for more in ((), ("--json",))),
        *(("explain", *asked, *more) for asked in about for more in ((), ("--json",), ("--caller", "orders"))),
        *(
            ("call", service, "GET", f"/say/{status}/{form}")
            for status in (200, 500, 401)
            for form in ("json", "headers")
        ),
        ("dead", "list"),
        ("dead", "list", "--json"),
        *(("dead", "show", call_id, *more) for call_id in call_ids for more in ((), ("--json",))),
        ("dead", "replay", "--service", service, "--dry-run"),
        ("schema",),
        *((name, "--help") for name in ("call", "worker", "dead", "doctor")),
    ]
    for command in commands:
        done = CliRunner(env={**environ, "COLUMNS": "250"}).invoke(main, command)
        yield f"command {' '.join(command)}", done.output + repr(done.exception or "")
