"""The reference of all keys of the configuration, made of the very models that read it: their types, their defaults and
what is written below each key. Reads the source of this package and writes nothing.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from daemon.config import Sections, kinds, module_of
from daemon.core import api, settings
from daemon.core.duration import format_duration
from daemon.errors import UsageError

_WORDS: tuple[tuple[Any, str], ...] = (
    (settings.Duration, "duration"),
    (settings.PositiveDuration, "duration"),
    (settings.SecretText, "secret"),
    (settings.FilePath, "path"),
    (settings.DirectoryPath, "directory"),
    (settings.Zone, "time zone"),
    (settings.Conditions, "conditions"),
    (settings.FieldName, "fieldname"),
    (settings.FunctionName, "function"),
    (api.Address, "address"),
    (api.Dotted, "dotted path"),
    (api.FieldPath, "dotted path"),
    (api.EndpointText, "method and path"),
)
"""What the types of the configuration are called. Any other is called by what it is made of."""
_PLAIN = {str: "text", int: "integer", float: "number", bool: "boolean", Path: "path", Any: "value"}
INTRODUCTION = """\
# Configuration

Every key of `config.toml`, section by section, with what it takes and its default. The annotated example is the
[`config.toml`](../config.toml) that ships; `frappe-daemon check --offline` finds every mistake in yours, and
`frappe-daemon reference sync` prints the part about one section or kind. Text of this page is made from the source.

- *duration*: a length of time as text, such as `"90s"`, `"15m"`, `"6h"`, `"30d"`.
- *secret*: where it is, never the secret itself: `{ env = "NAME" }`, `{ file = "/path" }` or `{ credential = "name" }`
  (systemd's `LoadCredential=`).
- *path*, *directory*: relative ones are beside `config.toml`.
- *time zone*: a name of the IANA database, such as `"Europe/Berlin"`.
- *conditions*: filters as Frappe writes them, `[["status", "=", "Open"], ["grand_total", ">", 100]]`.
- *function*: Python, as `"module:function"` or `"file.py:function"` beside `config.toml`.
- *dotted path*: keys of JSON objects, or places in arrays, such as `"customer.id"` or `"lines.0.sku"`.
- *method and path*: below the API's address, such as `"GET /orders/{id}"`.
"""


def reference(only: str = "") -> str:
    """Markdown of all sections, or of that one or kind. Raises UsageError where there is none of this name."""
    pages = dict(_pages())
    if only and only not in pages:
        raise UsageError(f"there is no section or kind {only!r} (there are: {', '.join(pages)})")
    return pages[only] if only else "\n".join([INTRODUCTION, *pages.values()])


def _pages() -> Iterator[tuple[str, str]]:
    for name, field in Sections.model_fields.items():
        yield name, "\n".join(_section(name, _models(field.annotation)[0], f"[{name}]"))
    yield "jobs", "\n".join(_section("jobs.NAME", settings.JobSettings, "[jobs.NAME], whatever its kind"))
    for kind in kinds():
        yield kind, "\n".join(_section("jobs.NAME", module_of(kind).Settings, f'[jobs.NAME] with kind = "{kind}"'))


def _section(path: str, model: type[BaseModel], title: str, outer: tuple[type[BaseModel], ...] = ()) -> Iterator[str]:
    """A model's keys, and behind them the sections in it."""
    yield f"## {title}\n"
    yield f"{_paragraph(inspect.getdoc(model))}\n"
    hints, told, within = get_type_hints(model, include_extras=True), notes(model), (*outer, model)
    above = settings.JobSettings  # what all jobs have is told once
    common = above.model_fields if issubclass(model, above) and model is not above else {}
    own = {name: field for name, field in model.model_fields.items() if name not in common or name in _said_by(model)}
    inner = {name: found for name in own if (found := _models(hints[name]))}
    for name, field in own.items():
        takes = _type(hints[name]) if inner.get(name, []) != _parts(hints[name]) else _place(hints[name], path, name)
        said = "; ".join(filter(None, (takes, _default(field))))
        about = told.get(name) or " ".join(_paragraph(inspect.getdoc(one)) for one in inner.get(name, ()))
        yield f"- **`{name}`** ({said}): {about}"
    yield ""
    for name, found in inner.items():
        for one in found:
            if one not in within:
                yield from _section(f"{path}.{name}", one, _place(hints[name], path, name), within)


def _said_by(model: type[BaseModel]) -> Mapping[str, Any]:
    """The keys that its own class states."""
    found: Mapping[str, Any] = vars(model).get("__annotations__", {})
    return found


def _place(hint: Any, path: str, name: str) -> str:
    return f"[[{path}.{name}]]" if list in _origins(hint) else f"[{path}.{name}]"


@cache
def notes(model: type[BaseModel]) -> dict[str, str]:
    """What is written below each key in the source of the model and of those that it is made from."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner is BaseModel or not issubclass(owner, BaseModel):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(definition, ast.ClassDef)
        for key, note in zip(definition.body, definition.body[1:], strict=False):
            if (
                isinstance(key, ast.AnnAssign)
                and isinstance(key.target, ast.Name)
                and isinstance(note, ast.Expr)
                and isinstance(note.value, ast.Constant)
            ):
                found[key.target.id] = _paragraph(note.value.value)
    return found


def _paragraph(text: Any) -> str:
    return " ".join(str(text or "").split())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value in (None, "", PydanticUndefined) or isinstance(value, BaseModel) or value == []:
        return ""
    return f"`{toml(value)}`"


def toml(value: Any) -> str:
    """`value` as it stands in a configuration."""
    match value:
        case bool():
            return str(value).lower()
        case timedelta():
            return f'"{format_duration(value)}"'
        case str() | Path():
            return f'"{value}"'
        case list() | tuple():
            return f"[{', '.join(map(toml, value))}]"
        case dict():
            return f"{{ {', '.join(f'{key} = {toml(item)}' for key, item in value.items())} }}".replace("{  }", "{}")
    return str(value)


# Types in words


def _type(hint: Any) -> str:
    for known, words in _WORDS:
        if hint == known:
            return words
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _type(parts[0]) + _bounds(parts[1:])
    if origin is Literal:
        return " or ".join(toml(part) for part in parts if part != "")
    if origin in (Union, UnionType):
        return " or ".join(filter(None, (_type(part) for part in parts if part is not NoneType)))
    if origin in (list, tuple):
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return "table"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return f"{{ {', '.join(f'{name} = …' for name in hint.model_fields)} }}"
    return _PLAIN.get(hint, "text")


def _bounds(marks: Iterable[Any]) -> str:
    words = {Ge: "at least", Gt: "more than", Le: "at most", Lt: "less than"}
    found = [
        f"{words[type(mark)]} {getattr(mark, type(mark).__name__.lower())}"
        for noted in marks
        for mark in (noted.metadata if isinstance(noted, FieldInfo) else [noted])
        if type(mark) in words and not isinstance(mark, MinLen)
    ]
    return f", {', '.join(found)}" if found else ""


def _parts(hint: Any) -> list[Any]:
    """What a hint is made of, without lists, marks and None."""
    if get_origin(hint) is Annotated:
        return _parts(get_args(hint)[0])
    if get_origin(hint) in (list, Union, UnionType):
        return [one for part in get_args(hint) for one in _parts(part)]
    return [] if hint is NoneType else [hint]


def _models(hint: Any) -> list[type[BaseModel]]:
    return [part for part in _parts(hint) if isinstance(part, type) and issubclass(part, BaseModel)]


def _origins(hint: Any) -> list[Any]:
    return [get_origin(hint), *(origin for part in get_args(hint) for origin in _origins(part))]
