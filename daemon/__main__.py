"""`python -m daemon` is the command `frappe-daemon`."""

from daemon.cli import main

main()
