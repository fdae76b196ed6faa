"""Values of labels, bounded: each new one is a time series for as long as the worker lives."""

__all__ = ["OTHER", "Labels"]

#: In the place of all further values.
OTHER = "other"


class Labels:
    """Lets so many different values through for each key; what names them may come from callers.

    Args:
        most: values of one key.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[str, set[str]] = {}

    def bounded(self, key: str, value: str) -> str:
        """The value, or `OTHER` if there are too many."""
        known = self._known.setdefault(key, set())
        if value in known:
            return value
        if len(known) >= self._most:
            return OTHER
        known.add(value)
        return value
