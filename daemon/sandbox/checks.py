"""What a document must obey before it is written, and the form in which its values are kept.

After model/base_document.py and model/document.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from daemon.sandbox.doctypes import NUMBERS, DocType, Field, stamp
from daemon.sandbox.replies import FrappeError
from daemon.sandbox.site import Doc, FrappeSite

_LONGEST = 140
"""Characters of a Data field without a length of its own (base_document.py:_validate_length)."""
DATED = {"__Today": 10, "Today": 10, "Now": None}


def kept(meta: DocType, doc: Mapping[str, Any]) -> Doc:
    """What of `doc` goes into columns, as it goes there. What is no field of the DocType is dropped."""
    return {one.name: _kept(one, doc[one.name]) for one in meta.columns if one.name in doc}


def _kept(one: Field, value: Any) -> Any:
    if one.type in NUMBERS:
        return _number(one.type, value)
    if value == "" and (one.flags.get("unique") or one.type in ("Date", "Datetime", "Time")):
        return None
    if isinstance(value, dict | list):
        return json.dumps(value)
    return None if value is None else stamp(value, one.type)


def _number(kind: str, value: Any) -> int | float:
    """cint and flt: text that is no number is 0."""
    try:
        number = float(value or 0)
    except (TypeError, ValueError):
        number = 0.0
    return int(number) if NUMBERS[kind] == "INTEGER" else number


def defaults(site: FrappeSite, meta: DocType) -> Doc:
    """What a new document starts with (model/create_new.py)."""
    now = site.now()
    found: Doc = {}
    for one in meta.columns:
        value = one.flags.get("default")
        if value is not None:
            found[one.name] = now[: DATED[value]] if value in DATED else value
    return found


def check(site: FrappeSite, meta: DocType, name: str, values: Mapping[str, Any], row: str = "") -> None:
    """Raises MandatoryError, LinkValidationError, ValidationError … `row`: where it is a child row, which."""
    missing = [one for one in meta.columns if one.flags.get("reqd") and values.get(one.name) in (None, "")]
    if missing:
        for one in missing:
            site.say(f"Error: {row or 'Value missing for'} {meta.name}: {one.label}")
        text = f"[{meta.name}, {name}]: {', '.join(one.name for one in missing)}"
        raise FrappeError("MandatoryError", text, thrown=False)
    filled = [one for one in meta.columns if values.get(one.name) not in (None, "")]
    for one in filled:
        _check_value(one, str(values[one.name]))
    lost = list(_lost_links(site, filled, values, row))
    if lost:
        raise FrappeError("LinkValidationError", f"Could not find {', '.join(lost)}")


def _check_value(one: Field, value: str) -> None:
    options = one.options.split("\n")
    if one.type == "Select" and one.options and value not in options:
        listed = ", ".join(f'"{option}"' for option in options)
        raise FrappeError("ValidationError", f' {one.label} cannot be "{value}". It should be one of {listed}')
    longest = int(one.flags.get("length") or 0) or _LONGEST
    if one.type in ("Data", "Link", "Select") and len(value) > longest:
        text = f"'{one.label}' will get truncated, as max characters allowed is {longest}"
        raise FrappeError("CharacterLengthExceededError", text, title="Value too big")


def _lost_links(site: FrappeSite, fields: list[Field], values: Mapping[str, Any], row: str) -> Iterator[str]:
    for one in fields:
        if one.type == "Link" and one.options in site.doctypes:
            value = values[one.name]
            if site.store.get(one.options, value) is None:
                yield f"{row}{one.label}: {value}"


def check_submitted(meta: DocType, before: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """Only fields with allow_on_submit may still change (base_document.py:_validate_update_after_submit)."""
    for one in meta.columns:
        new = changed.get(one.name, before.get(one.name))
        if new != before.get(one.name) and not one.flags.get("allow_on_submit"):
            text = f"Not allowed to change {one.label} after submission from {before.get(one.name)} to {new}"
            raise FrappeError("UpdateAfterSubmitError", text)
