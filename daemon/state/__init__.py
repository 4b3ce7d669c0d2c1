"""What the daemon remembers: runs, slots, facts about sites, and what each job wants to know the next time.

`State` is imported when it is first asked for: SQLAlchemy takes a good tenth of a second, and who only names a `Run` or
checks a configuration need not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.state.records import FINISHED, Holder, Run, Server, SlotMark, Terms

if TYPE_CHECKING:
    from daemon.state.store import State

__all__ = ["FINISHED", "Holder", "Run", "Server", "SlotMark", "State", "Terms"]


def __getattr__(name: str) -> Any:
    if name == "State":
        from daemon.state.store import State

        return State
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
