"""A Frappe-shaped site to try the daemon on and to test it with: the same wire, a SQLite file, faults on demand.

What it does is written down in Frappe's own terms beside each part; tests/contract runs the same cases against it and
against a real site, and what they disagree on is a fault of this package.
"""

from daemon.sandbox.faults import Fault
from daemon.sandbox.orders import Orders
from daemon.sandbox.server import Sandbox

__all__ = ["Fault", "Orders", "Sandbox"]
