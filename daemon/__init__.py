"""frappe-daemon: clean-ups, syncs, imports, digests and expiry notices for a Frappe site, from outside."""

__version__ = "0.1.0"
