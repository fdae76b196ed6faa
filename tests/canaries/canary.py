"""Secrets that are found wherever they are: each is a text that stands nowhere else."""

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

__all__ = ["Canary", "Nest"]


@dataclass(frozen=True)
class Canary:
    """One secret of the system.

    Attributes:
        name: which one.
        value: what nobody may see.
    """

    name: str
    value: str

    def forms(self) -> Iterator[bytes]:
        """As it may be found: as it is, in a URL, in hexadecimal, in base64 however it is aligned there."""
        raw = self.value.encode()
        yield raw
        yield quote(self.value, safe="").encode()
        yield raw.hex().encode()
        for before in range(3):
            encoded = base64.b64encode(bytes(before) + raw)
            # The characters at both ends depend on what stands beside it.
            yield encoded[4 if before else 0 : -4]


@dataclass
class Nest:
    """All of them, and where each was seen.

    Attributes:
        canaries: what is looked for.
        seen: `(canary, place, what stands around it)`.
    """

    canaries: list[Canary] = field(default_factory=list)
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    searched: dict[str, int] = field(default_factory=dict)

    def new(self, name: str) -> str:
        """A new secret."""
        value = f"canary-{name.replace(' ', '-')}-{secrets.token_hex(12)}"
        self.canaries.append(Canary(name, value))
        return value

    def webhook(self, name: str) -> str:
        """A secret of Standard Webhooks, without its prefix."""
        value = base64.b64encode(secrets.token_bytes(33)).decode()
        self.canaries.append(Canary(name, value))
        return value

    def key(self, name: str, pem: str) -> str:
        """A private key: each line of it is a secret."""
        lines = [line for line in pem.splitlines() if line and not line.startswith("-----")]
        self.canaries.extend(Canary(f"{name}, line {number}", line) for number, line in enumerate(lines, 1))
        return pem

    def search(self, place: str, content: bytes | str) -> None:
        """Look for all of them."""
        data = content.encode() if isinstance(content, str) else content
        self.searched[place.split(" ")[0]] = self.searched.get(place.split(" ")[0], 0) + len(data)
        for canary in self.canaries:
            for form in canary.forms():
                at = data.find(form)
                if at >= 0:
                    around = data[max(0, at - 60) : at + len(form) + 20].decode("utf-8", "replace")
                    self.seen.append((canary.name, place, around))
                    break
