"""What is written of an object in a log line or in the place of one that cannot be sent."""

__all__ = ["shown"]


def shown(value: object) -> str:
    """Its `repr`, or its class where that fails: whoever reports a failure must not make another one."""
    try:
        return repr(value)
    except Exception:  # of any object's own method
        return f"<{type(value).__name__}>"
