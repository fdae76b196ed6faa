"""How the catalogue says where a secret is: `env:NAME` or `file:/path`, and never the secret itself."""

import re

__all__ = ["REFERENCE"]

REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+")
