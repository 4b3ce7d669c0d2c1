"""Settings of import jobs, which the command gives as options. Reads and writes nothing."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from daemon.core.settings import DirectoryPath, Duration, FilePath, JobSettings
from daemon.core.values import Reading


class Settings(JobSettings):
    """An import job."""

    doctype: str = ""
    """What the rows become."""
    inbox: DirectoryPath | None = None
    """A directory whose files are imported."""
    file: FilePath | None = None
    """The one file that is imported."""
    requests: bool = False
    """Import what documents of the DocType Daemon Import ask for."""
    directory: DirectoryPath | None = None
    """Where files that were attached to requests are worked on, until their results are attached, too."""
    doctypes: list[str] = Field(default_factory=list)
    """What may be asked for; empty: whatever those who ask may create themselves."""
    max_size: Annotated[int, Field(ge=1)] = 200_000_000
    """Bytes of a file that is attached to a request."""
    quiet: Duration = timedelta(seconds=30)
    """A file in the inbox is complete once nobody has written to it for this long."""
    key: str = ""
    """The field by which a row finds its document again."""
    update_existing: bool = False
    """Rows may change documents that are there."""
    on_conflict: Literal["error", "skip", "update"] = "error"
    """What becomes of a row whose document somebody changed between our reading and our writing."""
    blank: Literal["keep", "clear"] = "keep"
    """What an empty cell means for a document that is there."""
    submit: bool = False
    """Submit what was created."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Header → "field", "table.field", or "" to leave the column out."""
    constants: dict[str, Any] = Field(default_factory=dict)
    """Field → value, for every document."""
    defaults: dict[str, Any] = Field(default_factory=dict)
    """Field → value, where a cell is empty."""
    ignore_unknown: bool = False
    """Leave columns out that no field is for."""
    mandatory: bool = True
    """False: the site's own code fills mandatory fields in, so it shall say what is missing."""
    decimal: Literal["", ".", ","] = ""
    """The decimal mark, where the file does not prove it."""
    dates: list[str] = Field(default_factory=list)
    """Formats of dates, such as "dd.mm.yyyy", where the file does not prove it."""
    serials: Literal["", "1900", "1904"] = ""
    """Numbers where a date is wanted are a workbook's days, counted from there."""
    rating: Literal["", "stars", "fraction"] = ""
    """What ratings count."""
    allow_read_only: bool = False
    """Write fields that only forms protect."""
    encoding: str | None = None
    """Of text, where it is not found out."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Between cells, where it is not found out."""
    sheet: str | None = None
    """Of a workbook; else its first that holds anything."""
    again: bool = False
    """Import a file anew though its content was imported before."""
    escape_formulas: bool = True
    """Cells of result files that a spreadsheet program would run get an apostrophe; reading the file takes it away."""

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if (self.inbox is not None) + (self.file is not None) + self.requests != 1:
            raise ValueError("an import has an inbox (a directory), a file, or requests = true")
        if self.requests:
            self._leaves_to_requests()
        elif not self.doctype:
            raise ValueError("doctype is missing: what the rows become")
        elif self.directory:
            raise ValueError("directory is for requests = true alone")
        _ = self.reading  # raises for a date format that is none
        return self

    def _leaves_to_requests(self) -> None:
        if self.directory is None:
            raise ValueError("requests = true needs a directory, where files from the site are worked on")
        said = [name for name in ("doctype", "update_existing", "submit") if getattr(self, name)]
        if said:
            raise ValueError(f"each request says {' and '.join(said)} itself; take it out")

    @property
    def alone_in(self) -> list[Path]:
        return [path for path in (self.inbox, self.directory) if path]

    @property
    def reading(self) -> Reading:
        return Reading(decimal=self.decimal, dates=tuple(self.dates), serials=self.serials, rating=self.rating)

    @property
    def rights(self) -> tuple[str, ...]:
        """What the daemon's user must be allowed to do with documents of the DocType."""
        return ("read", "create", *(["write"] * self.update_existing), *(["submit"] * self.submit))

    @property
    def fingerprint(self) -> str:
        """Of all that decides what rows become; an import goes on only under the same."""
        names = {"doctype", "key", "update_existing", "blank", "submit", "columns", "constants", "defaults",
                 "ignore_unknown", "decimal", "dates", "serials", "rating", "allow_read_only", "encoding", "delimiter",
                 "sheet"}  # fmt: skip
        return hashlib.sha256(self.model_dump_json(include=names).encode()).hexdigest()[:16]
