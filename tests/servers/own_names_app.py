"""The workers' app with a name server of its own, for `celery -A tests.servers.own_names_app worker`.

`RESOLV_CONF` is what the process sees as `/etc/resolv.conf`. Before anything else it starts itself again, with the same
process id, in a name space of mounts that ends with it.
"""

import os
import sys

_MOUNT = 'mount --make-rprivate / && mount --bind "$RESOLV_CONF" /etc/resolv.conf && exec "$@"'

if "OWN_NAMES" not in os.environ:
    os.environ["OWN_NAMES"] = "1"
    os.execvp("unshare", ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", *sys.orig_argv])  # noqa: S606

from workers.app import app  # noqa: E402 - only the second time

__all__ = ["app"]
