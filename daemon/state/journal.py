"""What work writes down before an act whose outcome may stay unknown, and what it has done. Writes the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from daemon.state.store import State


class Journal:
    """JSON values under keys of one owner, kept beside what jobs remember."""

    def __init__(self, state: State, owner: str) -> None:
        self._state, self._owner = state, owner

    def read(self, prefix: str = "") -> dict[str, Any]:
        """All values under keys that begin with `prefix`."""
        return self._state.recall_all(self._owner, prefix)

    def page(self, prefix: str, after: str, limit: int) -> dict[str, Any]:
        """The first `limit` values under keys that begin with `prefix` and sort behind `after`, in their order."""
        return self._state.recall_page(self._owner, prefix, after, limit)

    def pick(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values under these very keys, as far as there are any."""
        return self._state.recall_some(self._owner, keys)

    def write(self, changes: Mapping[str, Any]) -> None:
        """Keep these values and forget those that are None; all or nothing, and on the disk when this returns."""
        self._state.remember_all(self._owner, changes)

    def forget(self, prefix: str, before: str) -> int:
        """Forget what is under keys that begin with `prefix` and sort before `prefix` + `before`; how many it was."""
        return self._state.forget_between(self._owner, prefix, prefix + before)
