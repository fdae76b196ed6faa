"""What is secret of a sealed header is more than its value."""

import base64

from workers.on_behalf import parts_of


def test_what_a_service_may_say_of_it_alone() -> None:
    login = base64.b64encode(b"ada:correct horse").decode()
    assert set(parts_of({"authorization": "Bearer user-token-1"})) == {"Bearer user-token-1", "user-token-1"}
    assert set(parts_of({"Authorization": "bearer  user-token-1"})) >= {"user-token-1"}
    assert set(parts_of({"authorization": f"Basic {login}"})) >= {login, "ada:correct horse", "correct horse"}
    assert set(parts_of({"cookie": 'sid=session-4711; theme=dark; t="token-4712"'})) >= {"session-4711", "token-4712"}


def test_an_ordinary_word_is_none() -> None:
    assert set(parts_of({"cookie": "theme=dark"})) == {"theme=dark"}
    assert set(parts_of({"x-mode": "Bearer x"})) == {"Bearer x"}
    assert set(parts_of({"authorization": "Basic !!"})) == {"Basic !!"}
