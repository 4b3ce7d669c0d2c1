"""Where a configuration is looked for, for those who load it and those who only complete words. Reads nothing."""

from __future__ import annotations

from pathlib import Path

VARIABLE = "FRAPPE_DAEMON_CONFIG"
PLACES = (Path("config.toml"), Path("/etc/frappe-daemon/config.toml"))
