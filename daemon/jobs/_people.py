"""Who is told of something: users of the site, and addresses of others. Reads Users, some hundreds in one request.

A user is asked for once in a run. Who is disabled, unknown or unreachable comes back with the reason, so that somebody
else can be told instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from daemon.core.kind import SitePort
from daemon.core.letter import is_address
from daemon.errors import NotPermitted

FIELDS = ("name", "email", "full_name", "language", "enabled", "user_type")
GUEST = "Guest"
"""Enabled, with an address, and nobody."""
HIDDEN = "Administrator"
"""Lists leave it out for everybody else (core/doctype/user/user.py:get_permission_query_conditions)."""
REMEMBERED = 5000
"""Users that are held at once."""
PAGE = 500


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can be told, one way or the other."""

    key: str
    """The user's name; of others the address, in lower case."""
    address: str = ""
    """An address to which mail can go; "" where there is none."""
    full_name: str = ""
    language: str = ""
    desk: bool = False
    """Has a desk, where notifications are shown: no website user, nobody from outside."""
    no_mail: str = ""
    """Why there is no address."""
    user: bool = True
    """A user of the site."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Empty(str):
    """Says that there is nobody where somebody might be, which is nobody's fault."""

    __slots__ = ()


class Absent(str):
    """Says that the site has no such user."""

    __slots__ = ()


def stranger(address: str) -> Person | str:
    """Somebody who is no user of the site; a sentence where that is no address."""
    address = address.strip()
    if is_address(address):
        return Person(address.lower(), address, user=False)
    return f"{address[:80]!r} is no e-mail address"


class People:
    """The users that this run has met."""

    def __init__(self, site: SitePort) -> None:
        self._site = site
        self._known: dict[str, Person | str] = {}
        self._at: dict[str, Person] = {}
        """Address → the enabled user who has it, and another name."""
        self._roles: dict[str, list[Person]] = {}
        self._no_roles: dict[str, str] = {}

    def learn(self, names: Iterable[str]) -> None:
        """Ask for those of `names` that are not known yet, in one request for each five hundred; for addresses that are
        no user's name in a second one."""
        fresh = sorted({name for name in names if name.casefold() not in self._known})
        if len(self._known) + len(fresh) > REMEMBERED:
            self._known.clear()
            self._at.clear()
        for start in range(0, len(fresh), PAGE):
            self._ask(fresh[start : start + PAGE])

    def _ask(self, names: list[str]) -> None:
        rows = self._site.get_list("User", FIELDS, [["name", "in", names]])
        found = {str(row["name"]).casefold(): _person(row) for row in rows}
        if HIDDEN in names:
            found.setdefault(HIDDEN.casefold(), Person(HIDDEN, full_name=HIDDEN, desk=True, no_mail=_HIDDEN))
        for name in names:
            missing = Absent(f"the site shows no user {name[:80]!r}")
            self._known[name.casefold()] = found.get(name.casefold(), missing)
        if others := [name for name in names if is_address(name) and not self._has(name, self._known[name.casefold()])]:
            rows = self._site.get_list("User", FIELDS, [["email", "in", others], ["enabled", "=", 1]])
            people = [one for one in map(_person, rows) if isinstance(one, Person)]
            self._at |= {one.address.casefold(): one for one in reversed(people)}

    @staticmethod
    def _has(address: str, one: Person | str) -> bool:
        return isinstance(one, Person) and one.address.casefold() == address.casefold()

    def of_rows(self, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, Person | str]]:
        """(name, user) of a page of Users with FIELDS; a sentence in the place of one that nobody may be."""
        return [(str(row["name"]), _person(row)) for row in rows]

    def at(self, address: str) -> Person | str:
        """Whoever has the address: a user, else somebody from outside; a sentence where it is none."""
        one = self.user(address.strip())
        return one if self._has(address.strip(), one) else self._at.get(address.strip().casefold()) or stranger(address)

    def named(self, text: str) -> Person | str:
        """A user by name, or whoever has the address."""
        one = self.user(text)
        if not isinstance(one, Absent):
            return one
        return (
            self.at(text)
            if is_address(text.strip())
            else f"{text[:80]!r} is neither a user of the site nor an e-mail address"
        )

    def user(self, name: str) -> Person | str:
        """A user; a sentence where there is none (Absent), or one that nobody may be."""
        if name.casefold() not in self._known:
            self.learn([name])
        return self._known[name.casefold()]

    def of_role(self, role: str) -> list[Person]:
        """All enabled users with the role, asked for once in a run."""
        if role not in self._roles:
            where = [["Has Role", "role", "=", role], ["enabled", "=", 1]]
            found: dict[str, Person] = {}
            for page in self._site.paginate("User", FIELDS, where, page_length=PAGE):
                people = [_person(row) for row in page]
                found |= {one.key: one for one in people if isinstance(one, Person)}
            self._roles[role] = list(found.values())
        return self._roles[role]

    def why_nobody(self, role: str) -> str:
        """Of a role that no enabled user has: Empty, unless the site has no such role."""
        if role not in self._no_roles:
            try:
                there = bool(self._site.get_list("Role", ["name"], [["name", "=", role]], 0, 1))
            except NotPermitted:
                there = True
            empty = Empty(f"no enabled user has the role {role}")
            self._no_roles[role] = empty if there else f"the site has no role {role!r}"
        return self._no_roles[role]


_HIDDEN = "the site shows Administrator's address to Administrator alone"


def _person(row: Mapping[str, Any]) -> Person | str:
    name, email = str(row["name"]), str(row.get("email") or "").strip()
    if name == GUEST:
        return "Guest is whoever is not logged in"
    if not int(row.get("enabled") or 0):
        return f"the user {name} is disabled"
    why = ""
    if not email:
        why = f"the user {name} has no e-mail address"
    elif not is_address(email):
        why = f"the e-mail address of {name} is none: {email[:80]!r}"
    desk = str(row.get("user_type") or "System User") == "System User"
    if why and not desk:
        return why
    full_name, language = str(row.get("full_name") or ""), str(row.get("language") or "")
    return Person(name, "" if why else email, full_name, language, desk, why)


def names_in(value: Any) -> list[str]:
    """The users in a field: one, or the JSON list of `_assign` (desk/form/assign_to.py)."""
    text = str(value or "").strip()
    if text.startswith("["):
        try:
            return [name for name in json.loads(text) if isinstance(name, str) and name]
        except ValueError:
            return [text]
    return [text] if text else []
