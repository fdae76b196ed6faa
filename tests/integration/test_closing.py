"""A gateway that is closed holds no connection any more, nor does anything that was made with it open one again."""

import gc
import socket

import pytest

from gateway import Catalogue, Gateway, RestCall
from tests.integration.stack import Stack

GET_ADA = RestCall("user-service", "GET", "/users/{user_id}", path={"user_id": "123"})


def test_nothing_stays_open_and_what_is_collected_later_opens_nothing(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []

    class Noted(socket.socket):
        def connect(self, address: object) -> None:
            made.append(self)
            super().connect(address)  # type: ignore[arg-type]

    def left_open() -> list[socket.socket]:
        return [each for each in made if each.fileno() != -1]

    with Gateway(stack.settings, Catalogue.load(stack.config)) as gateway:
        # kombu keeps the connection to the broker for whoever comes next in this process.
        assert gateway.submit(GET_ADA).result(timeout=15).status == 200
        assert gateway.signature(GET_ADA).apply_async().id
    gc.collect()
    monkeypatch.setattr(socket, "socket", Noted)
    with Gateway(stack.settings, Catalogue.load(stack.config)) as gateway:
        assert gateway.submit(GET_ADA).result(timeout=15).status == 200
        fetched = gateway.signature(GET_ADA).apply_async()
        assert fetched.get(timeout=15)["status"] == 200
        # Nobody fetches it: when it is collected, Celery tells the store that nobody waits for it.
        forgotten = gateway.signature(GET_ADA).apply_async()
        assert left_open()
    assert not left_open()
    before = len(made)
    del fetched, forgotten, gateway
    gc.collect()
    assert len(made) == before
