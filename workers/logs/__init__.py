"""What a worker logs: every line that belongs to a call says which, in one of two forms, and none has a secret."""

from workers.logs.formats import FORMATS, format_of
from workers.logs.set_up import set_up

__all__ = ["FORMATS", "format_of", "set_up"]
