"""An entry of a queue: what makes it a message, and what stands in for one that is none.

Kombu takes an entry off its list first and looks at it then: one that is not JSON, or lacks what every message has,
ends the connection. Here such an entry is put aside and delivered as an empty message of an unreadable type, which the
consumer refuses like any other.
"""

import base64
import re
from typing import Any
from uuid import uuid4

from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

from gateway.codec import TASK

__all__ = ["ASIDE_KEY", "ASIDE_MOST", "COUNT_HEADER", "parse", "readable", "stand_in"]

#: Takes entries that are no messages, the newest first, for whoever wants to know where they come from.
ASIDE_KEY = "gateway:unreadable"
ASIDE_MOST = 1000

#: The header of a message that came back: how often one who had it died.
COUNT_HEADER = "x-delivery-count"
#: The member of the entry that holds it until it is delivered.
_DEATHS = "gateway_deaths"

#: A compressed entry is unpacked before anybody sees what it is; after so many deaths it is not any more.
_UNPACKED_DEATHS = 3
#: More than any consumer bears.
_FATAL = 1000

_ID = re.compile(r"[\x21-\x7e]{1,200}")


def readable(entry: Any) -> bool:
    """Whether an entry of a queue has what kombu takes for granted."""
    if not isinstance(entry, dict):
        return False
    headers, properties, body = entry.get("headers"), entry.get("properties"), entry.get("body")
    if not isinstance(headers, dict) or not isinstance(properties, dict) or not isinstance(body, str):
        return False
    tag, info = properties.get("delivery_tag"), properties.get("delivery_info")
    if not isinstance(tag, str) or not tag or not isinstance(info, dict):
        return False
    if not all(isinstance(info.get(name, ""), str | None) for name in ("exchange", "routing_key")):
        return False
    encoding = properties.get("body_encoding")
    if encoding not in (None, "base64"):
        return False
    try:
        base64.b64decode(body) if encoding else None
    except ValueError:
        return False
    return True


def parse(raw: bytes) -> tuple[Any, bool]:
    """An entry and whether it is a message; one that came back says so, as kombu's do, and how often it was fatal."""
    try:
        entry: Any = loads(bytes_to_str(raw))
    except Exception:  # kombu's own types fail in their own ways
        return None, False
    if not readable(entry):
        return entry, False
    deaths = entry.pop(_DEATHS, None)
    # A producer's own would be believed.
    entry["headers"].pop(COUNT_HEADER, None)
    if isinstance(deaths, int):
        entry["headers"]["redelivered"] = True
        if deaths >= _UNPACKED_DEATHS and entry["headers"].pop("compression", None) is not None:
            deaths = _FATAL
        entry["headers"][COUNT_HEADER] = deaths
        entry["properties"]["delivery_info"]["redelivered"] = True
    return entry, True


def stand_in(entry: Any, queue: str, tag: str | None) -> dict[str, Any]:
    """A message in place of an entry that is none; it has the entry's id, so that who waits for it gets an error.

    Args:
        tag: under which the entry is recorded as delivered; None: it is not.
    """
    headers = entry.get("headers") if isinstance(entry, dict) else None
    given = headers.get("id") if isinstance(headers, dict) else None
    call_id = given if isinstance(given, str) and _ID.fullmatch(given) else str(uuid4())
    return {
        "body": "",
        "content-type": "application/x-unreadable",
        "content-encoding": "utf-8",
        # Named as ours: it is kept already, and must not be put back for another application.
        "headers": {"id": call_id, "task": TASK},
        "properties": {
            "delivery_tag": tag or str(uuid4()),
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "body_encoding": None,
        },
    }
