"""The documents that rows find by their key, and whether one of them is what this import sent. Reads documents."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from daemon.core.rows import Draft, difference, key_digest
from daemon.errors import NotFrappe
from daemon.jobs._import.batch import Fate, Target, Work

KEYS = frozenset({"Data", "Link", "Dynamic Link", "Select", "Int", "Long Int", "Date", "Datetime", "Barcode", "Phone",
                  "Read Only"})  # fmt: skip
"""Field types whose values the site keeps as they are sent, so that a document is found by them again."""
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0]"
)
"""Letters that nobody sees and that MariaDB's collation passes over. Joiners are none: Persian and Indic words need
them."""


class Finder:
    """Looks documents up by key, a request for each batch."""

    def __init__(self, target: Target, *, updates: bool) -> None:
        """`updates`: what is found will be compared with what the rows say."""
        self._site, self._user, self._key = target.site, target.user, target.key
        self._doctype, self._layout, self._updates = target.doctype, target.layout, updates

    def refusal(self, draft: Draft) -> str:
        """Why the draft's key would not find its document again, or "" where it would."""
        name = self._key.field if self._key else ""
        value = draft.doc.get(name)
        text = str(value)
        if value in (None, ""):
            return f"{name} is blank, but rows are known by it"
        if "<" in text:
            return f"{name} holds a <, which the site may change in a key"
        if text != text.strip():
            return f"{name} begins or ends with a blank, with which the site finds nothing"
        if found := INVISIBLE.search(text):
            return f"{name} holds an invisible letter (U+{ord(found[0]):04X}), which the site passes over"
        return ""

    def find(self, work: Work, places: Sequence[int], *, whole: bool = False) -> dict[int, list[dict[str, Any]]]:
        """Place → the documents that hold its key; places without one are left out. `whole`: with all that is compared.

        Raises NotFrappe where the reply holds rows without a name.
        """
        key, drafts, whole = self._key, work.batch.drafts, whole or self._updates
        if not key or not places:
            return {}
        values = {place: drafts[place].doc[key.field] for place in places}
        fields = list(dict.fromkeys(["name", key.field, "modified", "docstatus", "owner", *(self._compared * whole)]))
        found = self._site.get_list(self._doctype.name, fields, [[key.field, "in", list(values.values())]])
        if not all(isinstance(doc.get("name"), str | int) for doc in found):
            raise NotFrappe(f"a list of {self._doctype.name} holds rows without a name")
        if whole and self._has_tables and found:
            full = {doc["name"]: doc for doc in self._site.whole(self._doctype.name, [doc["name"] for doc in found])}
            found = [full.get(doc["name"], doc) for doc in found]
        by_key: dict[int, list[dict[str, Any]]] = {}
        for doc in found:
            by_key.setdefault(key_digest([doc.get(key.field)]), []).append(doc)
        return {place: docs for place, value in values.items() if (docs := by_key.get(key_digest([value])))}

    @property
    def _has_tables(self) -> bool:
        return any(column.table or column.field.is_table for column in self._layout.columns)

    @property
    def _compared(self) -> list[str]:
        """Fields that are compared, as far as a list can show them."""
        own = [column.field.fieldname for column in self._layout.columns if not column.table]
        fixed = [key for key in (*self._layout.constants, *self._layout.defaults) if "." not in key]
        fields = (field for name in (*own, *fixed) if (field := self._doctype.field(name)) and not field.is_table)
        return [field.fieldname for field in fields if field.fieldtype != "Password"]

    def created(self, work: Work, place: int, docs: Sequence[Mapping[str, Any]]) -> Fate | None:
        """The fate of a row that was sent when no document had its key, now that `docs` have it. None: none of them is
        ours, so somebody else was quicker.

        Ours is what our user made and what holds what was sent. Where it holds something else, the site or somebody
        changed it, or somebody entered it under our user's name; nobody can tell that from here.
        """
        draft = work.batch.drafts[place]
        if self._key and self._key.made:
            return Fate(draft, "created", docs[0]["name"])
        mine = [doc for doc in docs if doc.get("owner") == self._user]
        other: list[str] = []
        for doc in mine:
            other = self._other(draft, doc)
            if not other:
                return Fate(draft, "created", doc["name"])
        if not mine or self._updates:
            return None
        why = (
            f"line {draft.line}: {mine[0]['name']} was made by {self._user} after this row was sent, but holds another"
        )
        said = f"{why} {' and '.join(other[:3])}: the site, or somebody, changed it"
        return Fate(draft, "uncertain", mine[0]["name"], said, "OutcomeUnknown", "document owner")

    def _other(self, draft: Draft, doc: Mapping[str, Any]) -> list[str]:
        """Fields that are not as they were sent. What the site fetches from elsewhere, keeps to itself or cleans as
        HTML tells nothing."""
        differing = difference(self._doctype, draft.doc, doc).items()
        telling = {name for name, value in differing if not (isinstance(value, str) and "<" in value)}
        fields = [field for name in sorted(telling) if (field := self._doctype.field(name))]
        return [own.fieldname for own in fields if own.fieldtype != "Password" and not own.fetch_from]
