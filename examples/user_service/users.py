"""The users, in memory, and the rules they keep; knows no protocol."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

__all__ = ["InvalidUser", "KeyReused", "User", "UserNotFound", "Users"]

_LONGEST = 200


class UserNotFound(LookupError):
    """There is no such user.

    Attributes:
        user_id: that was asked for.
    """

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        super().__init__(f"user {user_id!r} does not exist")


class InvalidUser(ValueError):
    """A field is missing or wrong.

    Attributes:
        field: its name.
        why: what is wrong with it.
    """

    def __init__(self, field: str, why: str) -> None:
        self.field = field
        self.why = why
        super().__init__(f"{field}: {why}")


class KeyReused(ValueError):
    """An idempotency key came again with another request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Attributes:
    id: its number, as text.
    name, email: of the person.
    manager_id: id of another user, who may have left.
    """

    id: str
    name: str
    email: str
    manager_id: str | None = None

    def to_json(self) -> dict[str, str]:
        """What callers are shown."""
        return {"id": self.id, "name": self.name, "email": self.email}


def _checked(user: User) -> User:
    for field in ("name", "email"):
        value = asdict(user)[field]
        if not isinstance(value, str) or not value.strip():
            raise InvalidUser(field, "a text is needed")
        if len(value) > _LONGEST:
            raise InvalidUser(field, f"{len(value)} characters are more than {_LONGEST}")
    if "@" not in user.email:
        raise InvalidUser("email", "is not an e-mail address")
    return user


class Users:
    """The store that the three protocols share. Used from one event loop: no method awaits, so each is atomic."""

    def __init__(self) -> None:
        self._users = {
            user.id: user
            for user in (
                # Her manager is gone: a GraphQL query for `manager` gets an error beside its data.
                User(id="123", name="Ada Lovelace", email="ada@example.com", manager_id="99"),
                User(id="124", name="Grace Hopper", email="grace@example.com", manager_id="123"),
                User(id="125", name="Alan Turing", email="alan@example.com"),
            )
        }
        self._last_id = 125
        self._made: dict[str, tuple[str, User]] = {}

    def all(self) -> list[User]:
        """Every user, oldest first."""
        return list(self._users.values())

    def get(self, user_id: str) -> User:
        """One user.

        Raises:
            UserNotFound: there is none.
            InvalidUser: the id is empty.
        """
        if not user_id:
            raise InvalidUser("user_id", "a text is needed")
        try:
            return self._users[user_id]
        except KeyError:
            raise UserNotFound(user_id) from None

    def create(self, *, name: str, email: str, idempotency_key: str | None = None) -> tuple[User, bool]:
        """Add a user; the second value is False where the key had made it before.

        Raises:
            InvalidUser: a field is wrong.
            KeyReused: the key came with other fields before.
        """
        fingerprint = json.dumps([name, email])
        if idempotency_key is not None and idempotency_key in self._made:
            before, made = self._made[idempotency_key]
            if before != fingerprint:
                raise KeyReused("this idempotency key belongs to another request")
            return made, False
        user = _checked(User(id=str(self._last_id + 1), name=name, email=email))
        self._last_id += 1
        self._users[user.id] = user
        if idempotency_key is not None:
            self._made[idempotency_key] = (fingerprint, user)
        return user, True

    def change(self, user_id: str, fields: Mapping[str, str]) -> User:
        """Set the given ones of `name` and `email`.

        Raises:
            UserNotFound: there is no such user.
            InvalidUser: a field is wrong or unknown.
        """
        user = self.get(user_id)
        for field in fields:
            if field not in ("name", "email"):
                raise InvalidUser(field, "is not a field of a user that can be changed")
        changed = _checked(replace(user, **fields))
        self._users[user_id] = changed
        return changed

    def delete(self, user_id: str) -> None:
        """Remove a user.

        Raises:
            UserNotFound: there is none.
        """
        self.get(user_id)
        del self._users[user_id]
