"""What operators see in Flower, and that no secret is to be seen there or anywhere else."""

import ast
import os
import re
import subprocess
import sys
import urllib.error
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway import Gateway, GraphQLCall, GrpcCall, RestCall
from gateway.dev.flower import Flower
from gateway.dev.stack import Stack
from gateway.errors import ServiceError

ROOT = Path(__file__).resolve().parents[2]
USER = "/users/{user_id}"
DATATABLE = "/tasks/datatable?draw=1&start=0&length=100&search[value]=&order[0][column]=0&order[0][dir]=asc"


class Seen:
    """A stack after some calls, all of which Flower has seen."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.payload = f"payload-{uuid.uuid4().hex}"
        self.correlation_id = f"control-{uuid.uuid4().hex}"
        self.ids: dict[str, str] = {}
        with Gateway.from_env(stack.environ) as gateway:
            self._call(gateway, "get", RestCall("user-service", "GET", USER, path={"user_id": "123"}))
            slow = {"x-demo-behaviour": "slow=300"}
            self._call(gateway, "slow", RestCall("user-service", "GET", USER, path={"user_id": "123"}, headers=slow))
            self._call(gateway, "missing", RestCall("user-service", "GET", USER, path={"user_id": self.payload}))
            body = {"name": self.payload, "email": "a@example.com"}
            self._call(gateway, "create", RestCall("user-service", "POST", "/users", json=body))
            self._call(gateway, "denied", RestCall("wrong-key", "GET", USER, path={"user_id": "123"}))
            method = "goodgo.user.v1.UserService/GetUser"
            self._call(gateway, "grpc", GrpcCall("user-service", method, {"user_id": "404"}))
            query = "query GetUser($id: ID!) { user(id: $id) { name } }"
            self._call(gateway, "graphql", GraphQLCall("user-service", query, {"id": "123"}))
            # Somebody without our producer, who describes nothing, and would have it shown as something else.
            call = {"protocol": "rest", "service": "user-service", "method": "POST", "route": "/users", "json": body}
            sent = gateway.celery.send_task(
                "gateway.call", kwargs={"version": 1, "caller": "demo", "call": call}, shadow="billing POST /payments"
            )
            self.ids["foreign"] = sent.id
            gateway.pending(sent.id).result(20)
        stack.processes[-1].wait_until(lambda: len(stack.flower.finished()) == len(self.ids), timeout=10)
        # Flower asks the workers about themselves now and then; on a busy machine an answer comes too late for it.
        stack.processes[-1].wait_until(self._knows_the_worker, timeout=30)

    def _worker_path(self) -> str:
        workers: set[str] = {task["worker"] for task in self.stack.flower.tasks()}
        return "/worker/" + next(iter(workers))

    def _knows_the_worker(self) -> bool:
        try:
            self.stack.flower.page("/api/workers?refresh=1")
            self.stack.flower.page(self._worker_path())
        except urllib.error.HTTPError as not_yet:
            not_yet.close()
            return False
        return True

    def _call(self, gateway: Gateway, name: str, call: Any) -> None:
        pending = gateway.submit(call, correlation_id=self.correlation_id)
        self.ids[name] = pending.id
        try:
            pending.result(20)
        except ServiceError:
            return

    def task(self, name: str) -> dict[str, Any]:
        return next(task for task in self.stack.flower.tasks() if task["uuid"] == self.ids[name])

    def page(self, name: str) -> str:
        """A task's page as text."""
        text = re.sub(r"<[^>]+>", " ", self.stack.flower.page(f"/task/{self.ids[name]}"))
        return re.sub(r"\s+", " ", text)

    def pages(self) -> dict[str, str]:
        """Everything that Flower shows, and all that its API tells."""
        paths = ["/", "/workers", "/tasks", DATATABLE, "/broker", "/metrics", "/api/workers", "/api/tasks"]
        paths += [
            "/api/task/types",
            "/api/workers?refresh=1",
            self._worker_path(),
        ]
        for task_id in self.ids.values():
            paths += [f"/task/{task_id}", f"/api/task/info/{task_id}"]
        return {path: self.stack.flower.page(path) for path in paths}

    def logs(self) -> dict[str, str]:
        return {process.name: process.output() for process in self.stack.processes}

    def redis(self) -> dict[str, str]:
        """Every key and value."""
        with redis.Redis.from_url(self.stack.environ["GATEWAY_RESULT_URL"]) as client:
            read = {
                b"string": client.get,
                b"hash": client.hgetall,
                b"list": lambda key: client.lrange(key, 0, -1),
                b"set": client.smembers,
                b"zset": lambda key: client.zrange(key, 0, -1),
                b"stream": client.xrange,
                # It ended between the two questions.
                b"none": lambda key: None,
            }
            return {repr(key): repr(key) + repr(read[client.type(key)](key)) for key in client.keys("*")}


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with Stack() as stack:
        yield Seen(stack)


@pytest.mark.parametrize(
    ("name", "shown", "state"),
    [
        ("get", "user-service GET /users/{user_id}", "SUCCESS"),
        ("missing", "user-service GET /users/{user_id}", "FAILURE"),
        ("create", "user-service POST /users", "SUCCESS"),
        ("denied", "wrong-key GET /users/{user_id}", "FAILURE"),
        ("grpc", "user-service goodgo.user.v1.UserService/GetUser", "FAILURE"),
        ("graphql", "user-service query GetUser", "SUCCESS"),
        ("foreign", "user-service POST /users", "SUCCESS"),
    ],
)
def test_a_task_has_the_name_of_its_operation(seen: Seen, name: str, shown: str, state: str) -> None:
    task = seen.task(name)
    assert (task["name"], task["state"]) == (shown, state)
    assert shown in seen.page(name)


def test_ids_and_outcome_are_readable(seen: Seen) -> None:
    task = seen.task("get")
    ids = rf"correlation_id={seen.correlation_id} request_id=[0-9a-f]{{32}} caller=demo"
    told = ast.literal_eval(task["kwargs"])
    assert re.fullmatch(ids, " ".join(f"{name}={value}" for name, value in told.items()))
    assert re.fullmatch(rf"200 in \d+ ms · .* · correlation_id={seen.correlation_id}", task["result"])
    page = seen.page("get")
    assert re.search(ids, page)
    assert re.search(r"Result 200 in \d+ ms Received", page), "without what other fields say"


def test_an_error_is_readable_without_a_traceback(seen: Seen) -> None:
    page = seen.page("missing")
    assert "ServiceRejectedError(" in page
    assert "status=404, delivery=answered, attempts=1" in page
    assert "Traceback" not in page


def test_runtimes_are_true_for_replies_and_errors(seen: Seen) -> None:
    assert 0.3 <= seen.task("slow")["runtime"] < 2
    metrics = seen.stack.flower.page("/metrics")
    (total,) = re.findall(
        r'flower_task_runtime_seconds_sum\{task="user-service GET /users/{user_id}".*?\} (\S+)', metrics
    )
    assert float(total) >= 0.3
    assert re.search(r"Runtime \d", seen.page("missing"))


def test_it_wants_a_login(seen: Seen) -> None:
    for path in ("/tasks", "/api/tasks", "/metrics", f"/task/{seen.ids['get']}"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            Flower(seen.stack.flower.url, "gateway:wrong").page(path)
        refused.value.close()
        assert refused.value.code == 401


def test_no_secret_is_in_any_page_key_or_log(seen: Seen) -> None:
    places = {"flower": seen.pages(), "redis": seen.redis(), "logs": seen.logs()}
    # The control: what must be found in each is found, so that what is not found is not there.
    for name, texts in places.items():
        assert any(seen.correlation_id in text for text in texts.values()), f"{name} was not read"
    for secret in ("INTERNAL_API_KEY", "DEMO_WRONG_KEY"):
        for texts in places.values():
            found = [name for name, text in texts.items() if seen.stack.environ[secret] in text]
            assert not found, f"{secret} is in {found}"


def test_no_payload_is_in_any_page_or_log(seen: Seen) -> None:
    texts = seen.pages() | seen.logs()
    # The control: what must be there is.
    assert any(seen.ids["create"] in text for text in texts.values())
    assert not [name for name, text in texts.items() if seen.payload in text]
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        seen.stack.flower.page(f"/api/task/result/{seen.ids['create']}")
    refused.value.close()


def run_flower(seen: Seen, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "celery", "-A", "workers.app", "flower", "--conf=flowerconfig.py", "--port=0", *flags]
    env = {name: value for name, value in os.environ.items() if not name.startswith("FLOWER_")}
    return subprocess.run(
        argv, env={**env, **seen.stack.environ, **environ}, cwd=ROOT, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(
    ("flags", "environ", "why"),
    [
        (["--address=0.0.0.0"], {}, "would listen on 0.0.0.0 without a login"),
        ([], {"FLOWER_ADDRESS": "::"}, "would listen on :: without a login"),
        ([], {"FLOWER_ADDRESS": "0.0.0.0", "FLOWER_BASIC_AUTH": ""}, "would listen on 0.0.0.0 without a login"),
        ([], {}, "would listen on 127.0.0.1 without a login"),
        ([], {"FLOWER_BASIC_AUTH": "admin:admin"}, "is anybody's guess"),
        ([], {"FLOWER_AUTH": r".*@example\.com"}, "OAuth is not complete"),
        ([], {"FLOWER_BASIC_AUTH": "admin"}, "is not a login"),
        ([], {"FLOWER_BASIC_AUTH": "admin:"}, "is not a login"),
    ],
)
def test_it_refuses_to_start_open(seen: Seen, flags: list[str], environ: dict[str, str], why: str) -> None:
    ended = run_flower(seen, *flags, **environ)
    assert ended.returncode != 0
    assert why in ended.stderr
