"""The site: frappe-client's vocabulary, working, and what this daemon needs beyond it.

`Site` is a `FrappeClient`, so code that was written for that package finds its methods here. What it inherits is the
vocabulary; every method is answered here, because the package's own ones look at no status, have no time-outs and post
half of their calls to the site's root. One method is refused instead: `login`, since sessions outrank API keys.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from frappeclient.frappeclient import FrappeClient

from daemon import errors
from daemon.core.doctype import DocType
from daemon.site.bulk import Each, present, remove
from daemon.site.clock import SiteClock
from daemon.site.dialect import Dialect
from daemon.site.logs import LogSettings
from daemon.site.mail import Mail
from daemon.site.paging import Filters, columns_of, conditions, pages
from daemon.site.replies import value_of
from daemon.site.transport import Safety, Transport, encode, quoted
from daemon.wire import plain

Doc = dict[str, Any]

LONG_QUERY = 2000
"""Characters of filters beyond which a list is asked for by POST: proxies cap the length of an address at 4 to 8 KB."""

UPLOADS = 3
"""How often a file is sent, when the replies get lost and the site does not have it."""

ALL = 2**31 - 1
"""All rows from a place on: without a limit 14 and 15 forget the place, and 16 makes SQL that MariaDB refuses."""


class Site(FrappeClient):  # type: ignore[misc] # the package has no types
    """One Frappe site, as one user with an API key.

    Methods raise the SiteError whose class says who must act; none returns None for a failure. Threads may share it.
    """

    def __init__(self, transport: Transport) -> None:
        # Not FrappeClient.__init__: that opens a session of requests, which nothing here uses.
        self.transport = transport
        self.url = str(transport.http.base_url).rstrip("/")
        self._facts = threading.Lock()
        self._dialect: Dialect | None = None
        self._clock: SiteClock | None = None
        self._versions: dict[str, str] = {}
        self._doctypes: dict[str, DocType] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.transport.close()

    def login(self, username: str, password: str) -> None:  # noqa: ARG002 (the vocabulary's)
        """Refused: an API key needs no session, and a session would outrank it (frappe/auth.py)."""
        raise errors.UsageError("a Site is used with an API key and secret, not with a user name and password")

    def authenticate(self, api_key: str, api_secret: str) -> None:  # noqa: ARG002 (the vocabulary's)
        """Refused: the key is the transport's, which never shows it."""
        raise errors.UsageError("a Site takes its API key when it is built")

    def logout(self) -> None:
        """Nothing to do: there is no session, and the package's call would only write an Activity Log row."""

    # Reading

    def get_list(
        self,
        doctype: str,
        fields: Sequence[Any] | str = ("*",),
        filters: Filters | None = None,
        limit_start: int = 0,
        limit_page_length: int = 0,
        order_by: str | None = None,
        *,
        or_filters: Filters | None = None,
        group_by: str | None = None,
        parent: str | None = None,
    ) -> list[Doc]:
        """Rows of `doctype` as dicts; `limit_page_length=0` is all of them, held in memory: see `paginate`.

        Ordered by name unless told otherwise: Frappe itself orders nothing (client.py:get_list passes no order). Child
        DocTypes need `parent`, the DocType that holds them.
        """
        narrowing = {"filters": filters, "or_filters": or_filters, "group_by": group_by, "parent": parent}
        params: dict[str, Any] = {
            "fields": [fields] if isinstance(fields, str) else list(fields),
            "order_by": order_by or (group_by or "name asc"),
            "limit_start": limit_start,
            "limit_page_length": limit_page_length or (ALL if limit_start else 0),
            **{key: value for key, value in narrowing.items() if value},
        }
        if len(encode(params)) > LONG_QUERY:
            rows = self._post("frappe.client.get_list", {"doctype": doctype, **params}, Safety.READ)
        else:
            rows = value_of(self.transport.send("GET", _resource(doctype), params=params))
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise _unlike("a list of rows", rows, f"GET {_resource(doctype)}")
        return rows

    def paginate(
        self,
        doctype: str,
        fields: Sequence[str] = (),
        filters: Filters | None = None,
        *,
        key: Sequence[str] = ("name",),
        after: Mapping[str, Any] | None = None,
        page_length: int = 500,
        parent: str | None = None,
    ) -> Iterator[list[Doc]]:
        """Pages of rows in the order of `key`; see daemon.site.paging for what it promises."""
        columns = columns_of(key)

        wanted: list[Any] = list(dict.fromkeys((*fields, *(column.field for column in columns))))

        def read(where: list[Any], or_where: list[Any], order_by: str) -> list[Doc]:
            return self.get_list(
                doctype,
                wanted,
                where,
                0,
                page_length,
                order_by,
                or_filters=or_where or None,
                parent=parent,
            )

        return pages(read, conditions(filters), columns, after, page_length)

    def get_doc(
        self, doctype: str, name: str | int = "", filters: Filters | None = None, fields: Sequence[str] | None = None
    ) -> Doc:
        """The document with its child rows, empty fields included, found by name or else by filters.

        `frappe.client.get` rather than the document route: that one leaves empty fields out and cannot take the names
        "." and "..". A single DocType is asked for by its own name.
        """
        if name in ("", None) and not filters:
            raise errors.UsageError(f"get_doc({doctype!r}) needs a name or filters")
        found = self.get_api("frappe.client.get", _named(doctype, name, filters))
        if not isinstance(found, dict):
            raise _unlike("a document", found, f"get_doc {doctype}")
        return {field: found.get(field) for field in fields} if fields else found

    def get_value(self, doctype: str, fieldname: Any = None, filters: Any = None, parent: str | None = None) -> Any:
        """`{field: value}` of one matching document, `{}` where none matches. `filters`: a dict, list or name."""
        if isinstance(filters, str):  # as text, a name such as 12e3456789 would be read as a number
            filters = {"name": filters}
        params = {"doctype": doctype, "fieldname": fieldname or "name", "filters": filters, "parent": parent}
        return self.get_api("frappe.client.get_value", params)

    def count(self, doctype: str, filters: Filters | None = None) -> int:
        """Documents that match, as far as this user may list them; each once, whatever child rows filters are about.

        "true" is what 14 takes for it (desk/reportview.py:get_count).
        """
        method = "frappe.desk.reportview.get_count"
        if self.dialect.counts(doctype):
            asked = {"doctype": doctype, "filters": conditions(filters), "distinct": "true"}
            found = self._post(method, asked, Safety.READ)
        else:
            method = f"count of {doctype}"
            rows = self.get_list(doctype, [self.dialect.aggregate("count", "name", "number")], filters, 0, 1)
            found = rows[0].get("number") if rows else None
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 2**63:
            raise _unlike("a count", found, method)
        return found

    def get_api(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """What a whitelisted method answers to GET."""
        return value_of(self.transport.send("GET", f"/api/method/{method}", params=params))

    # Writing

    def insert(self, doc: Mapping[str, Any]) -> Doc:
        """The document as inserted. Wrapped in `data`, so that a field may be called `data`, `cmd` or `sid`."""
        return self._document("POST", _resource(doc["doctype"]), doc)

    def insert_many(self, docs: Sequence[Mapping[str, Any]]) -> list[str]:
        """Names of at most 200 new documents; one that is refused undoes them all (frappe/client.py:insert_many)."""
        if not docs:
            return []
        names = self._post("frappe.client.insert_many", {"docs": [dict(doc) for doc in docs]})
        known = isinstance(names, list) and all(isinstance(name, str | int) and name != "" for name in names)
        if not known or len(set(names)) != len(docs):
            raise errors.OutcomeUnknown(
                f"insert_many of {len(docs)} {docs[0]['doctype']}: no list of as many names came"
            )
        return list(names)

    def update(self, doc: Mapping[str, Any]) -> Doc:
        """The document after the fields of `doc` were merged into it. With `modified` as it was read, a document that
        somebody saved meanwhile raises StaleDocument; without, the last writer wins."""
        return self._document("PUT", _resource(doc["doctype"], doc["name"]), doc)

    def bulk_update(self, docs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """`{"failed_docs": […]}`, which the caller must look at: the status is 200 whatever failed. Each doc carries
        doctype, docname and fields. The list is sent as text: a JSON list is refused (frappe/client.py:bulk_update)."""
        answer = self._post("frappe.client.bulk_update", {"docs": encode([dict(doc) for doc in docs]).decode()})
        return dict(answer or {})

    def set_value(self, doctype: str, docname: str, fieldname: str | Mapping[str, Any], value: Any = None) -> Doc:
        """The document after saving these fields."""
        fields = dict(fieldname) if isinstance(fieldname, Mapping) else {fieldname: value}
        payload = {"doctype": doctype, "name": docname, "fieldname": encode(fields).decode()}
        return dict(self._post("frappe.client.set_value", payload))

    def submit(self, doclist: Mapping[str, Any]) -> Doc:
        """The document, submitted. It must be whole and carry `modified` as it was read."""
        return dict(self._post("frappe.client.submit", {"doc": dict(doclist)}))

    def cancel(self, doctype: str, name: str) -> Doc:
        """The document, cancelled."""
        return dict(self._post("frappe.client.cancel", {"doctype": doctype, "name": name}))

    def delete(self, doctype: str, name: str | int) -> None:
        """Delete one document. Raises NotFound, InUse (linked) or Invalid (submitted) where it stays."""
        self.transport.send("DELETE", _resource(doctype, name))

    def delete_batch(self, doctype: str, names: Sequence[str | int]) -> dict[str | int, str]:
        """Ask for at most `dialect.bulk_delete_size` documents to be deleted, in one request that waits for its end.

        Returns reasons of those that stayed, by name, where this version tells them; v14 to v16 without the v2 bulk
        endpoints answer 200 and nothing, whatever happened (desk/reportview.py:delete_items). Re-list to know.
        """
        if self.dialect.v2_bulk:
            path = f"/api/v2/document/{quoted(doctype)}/bulk_delete"
            answer = value_of(self.transport.send("POST", path, payload={"names": list(names)}, safety=Safety.ONCE))
            failed = answer.get("failed") if isinstance(answer, dict) else None  # a new listing tells, too
            items = [
                item for item in failed or () if isinstance(item, dict) and isinstance(item.get("name"), str | int)
            ]
            return {item["name"]: plain(str(item.get("error") or "")) for item in items}
        payload = {"doctype": doctype, "items": encode(list(names)).decode()}
        self._post("frappe.desk.reportview.delete_items", payload)
        return {}

    def delete_groups(self, doctype: str, groups: Sequence[Sequence[str | int]]) -> None:
        """Ask for up to ten groups of documents to be deleted, each in a transaction of its own, in one request.

        What delete_items takes for a name goes to frappe.delete_doc as it is, which takes a list of names too
        (frappe/model/delete_doc.py), so ten "names" may be a hundred documents. That matters because each request
        gathers all dynamic links of the site anew before it deletes anything (model/dynamic_links.py), which costs
        more than ten deletes. A group that cannot be deleted whole is left whole; where none can, the site fails at
        wording that (ServerBug). Re-list to know.
        """
        payload = {"doctype": doctype, "items": encode([list(group) for group in groups]).decode()}
        self._post("frappe.desk.reportview.delete_items", payload)

    def rename_doc(self, doctype: str, old_name: str, new_name: str) -> str:
        """The new name."""
        payload = {"doctype": doctype, "old_name": old_name, "new_name": new_name}
        return str(self._post("frappe.client.rename_doc", payload))

    def post_api(self, method: str, params: Mapping[str, Any] | None = None, *, safety: Safety = Safety.ONCE) -> Any:
        """What a whitelisted method answers to POST, its arguments in the body."""
        return self._post(method, dict(params or {}), safety)

    def get_request(self, params: Mapping[str, Any]) -> Any:
        """A call named by `cmd`, under /api/method: the site's root takes none from version 17 on."""
        return self.get_api(*_command(params))

    def post_request(self, data: Mapping[str, Any]) -> Any:
        """A call named by `cmd` and POSTed, under /api/method."""
        return self.post_api(*_command(data))

    # Files

    def get_pdf(self, doctype: str, name: str, print_format: str = "Standard", letterhead: bool = True) -> BytesIO:
        """The printed document."""
        params = {"doctype": doctype, "name": name, "format": print_format, "no_letterhead": int(not letterhead)}
        path = "/api/method/frappe.utils.print_format.download_pdf"
        return BytesIO(self.transport.send("GET", path, params=params).content)

    def get_html(self, doctype: str, name: str, print_format: str = "Standard", letterhead: bool = True) -> str:
        """The printed document as HTML (frappe/www/printview.py:get_html_and_style; `/print` is a page, not an API)."""
        params = {"doc": doctype, "name": name, "print_format": print_format, "no_letterhead": int(not letterhead)}
        return str(self.get_api("frappe.www.printview.get_html_and_style", params)["html"])

    def download(self, file_url: str, path: Path, *, largest: int) -> None:
        """Stream the file that the site knows as `file_url`, private or public, into `path`.

        By frappe.handler.download_file, whose errors are JSON; public files are else served by nginx, not by Frappe.
        Raises NotFound, NotPermitted, FileProblem (more than `largest` bytes) and OutputError (`path`).
        """
        where = "/api/method/frappe.handler.download_file"
        reply = self.transport.send("GET", where, params={"file_url": file_url}, into=path, largest=largest)
        if reply.content or not path.exists():
            raise _unlike("a file", reply.content, f"GET {where}")

    def attach(self, path: Path, doctype: str, name: str, *, file_name: str) -> str:
        """URL of the private attachment `file_name` of a document, which has the content of `path`.

        An attachment of that name which is there is taken to be it, so that a lost reply is looked up and a second call
        does nothing; the name must be one that nobody else uses. The site gives a file another name where it has
        another file of that name (core/doctype/file/file.py:save_file).
        """
        where = {"attached_to_doctype": doctype, "attached_to_name": name, "file_name": file_name}
        for attempt in range(UPLOADS):
            if found := self.get_list("File", ["file_url"], where):
                return str(found[0]["file_url"])
            try:
                return self._upload(path, doctype, name, file_name)
            except errors.OutcomeUnknown:
                if attempt == UPLOADS - 1:
                    raise
        raise AssertionError("unreachable")

    def _upload(self, path: Path, doctype: str, name: str, file_name: str) -> str:
        fields = {"is_private": "1", "doctype": doctype, "docname": name, "folder": "Home"}
        try:
            with path.open("rb") as file:  # httpx goes back to its beginning for another try
                parts: dict[str, Any] = {key: (None, value) for key, value in fields.items()}
                parts["file"] = (file_name, file)
                made = value_of(self.transport.send("POST", "/api/method/upload_file", files=parts))
        except OSError as error:
            raise errors.FileProblem(f"{path}: cannot be read: {error.strerror or error}", path=str(path)) from None
        if not isinstance(made, dict) or not made.get("file_url"):
            raise errors.OutcomeUnknown(f"POST /api/method/upload_file: no file came back for {file_name}")
        return str(made["file_url"])

    def get_upload_template(self, doctype: str, with_data: bool = False) -> BytesIO:  # noqa: ARG002 (the vocabulary's)
        """Refused: the pages behind it left Frappe before version 14."""
        raise errors.UsageError("upload templates are gone since Frappe 14; use Data Import's own template")

    # Together

    @property
    def log_settings(self) -> LogSettings:
        """Server-side retention."""
        return LogSettings(self)

    @property
    def mail(self) -> Mail:
        """Mail through the site's outgoing account."""
        return Mail(self)

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return self.clock.zone

    @property
    def ahead(self) -> timedelta:
        """How far the site's clock is ahead of this machine's, to about a second."""
        return self.transport.date_offset or timedelta(0)

    def remove(
        self, doctype: str, names: Sequence[str | int], where: Sequence[Sequence[Any]], each: Each
    ) -> dict[str | int, errors.SiteError]:
        """Delete some hundreds of documents and say why each one that stayed stayed: see daemon.site.bulk."""
        return remove(self, doctype, names, where, each)

    def present(self, doctype: str, names: Sequence[str | int], where: Sequence[Sequence[Any]]) -> list[str | int]:
        """Those of `names` that are there and meet `where`."""
        return present(self, doctype, names, where)

    def whole(self, doctype: str, names: Sequence[str | int]) -> list[Doc]:
        """The documents of these names with their child rows, in one request and one more for each child table."""
        where: list[list[Any]] = [["name", "in", list(names)]]
        found = self.get_list(doctype, ["*"], where)
        for field, child in self.meta(doctype).tables:
            where = [["parent", "in", list(names)], ["parenttype", "=", doctype], ["parentfield", "=", field]]
            rows: dict[Any, list[Doc]] = {}
            for row in self.get_list(child, ["*"], where, order_by="parent asc, idx asc", parent=doctype):
                rows.setdefault(str(row.get("parent")), []).append(row)
            for doc in found:
                doc[field] = rows.get(str(doc.get("name")), [])
        return found

    # What the site is

    @property
    def dialect(self) -> Dialect:
        """How this version is spoken to; asked for once."""
        with self._facts:
            if self._dialect is None:
                answer = self.get_api("frappe.utils.change_log.get_versions")
                try:
                    versions = {app: str(facts["version"])[:40] for app, facts in answer.items()}
                    self._dialect = Dialect.of(versions["frappe"])
                except (AttributeError, KeyError, TypeError):
                    raise errors.NotFrappe(f"{self.url} does not say which Frappe it runs") from None
                self._versions = versions
                if self._dialect.major >= 16:
                    self._dialect = self._with_bulk(self._dialect)
            return self._dialect

    def _with_bulk(self, dialect: Dialect) -> Dialect:
        """`dialect` as it is, or with the v2 bulk endpoints, asked by deleting nothing."""
        try:
            self.transport.send(
                "POST", "/api/v2/document/ToDo/bulk_delete", payload={"names": []}, safety=Safety.REPEATABLE
            )
        except (errors.NotFound, errors.Invalid, errors.NotFrappe, errors.NotPermitted, errors.ServerBug):
            return dialect
        return Dialect(dialect.version, dialect.major, v2_bulk=True)

    @property
    def versions(self) -> dict[str, str]:
        """App → version, of every app installed on the site."""
        assert self.dialect
        return dict(self._versions)

    @property
    def clock(self) -> SiteClock:
        """Conversion to and from the site's naive datetimes; its zone is asked for once.

        System Settings.time_zone, whose fallback is Asia/Kolkata (frappe/utils/data.py:get_system_timezone). Raises
        NotConfigured where the machine does not know the zone.
        """
        with self._facts:
            if self._clock is None:
                answer = self.get_api("frappe.client.get_time_zone")
                name = str((answer.get("time_zone") if isinstance(answer, dict) else None) or "Asia/Kolkata")
                try:
                    self._clock = SiteClock(ZoneInfo(name))
                except (ZoneInfoNotFoundError, ValueError, OSError):
                    what = f"the site's time zone {name[:80]!r} is unknown on this machine"
                    raise errors.NotConfigured(what) from None
            return self._clock

    def moment(self, text: str) -> datetime:
        """The aware moment of a datetime of the site: daemon.site.clock."""
        return self.clock.moment(text)

    def text(self, moment: datetime) -> str:
        """An aware moment as the site writes it."""
        return self.clock.text(moment)

    def bound(self, moment: datetime) -> str:
        """An aware moment as a text that nothing stamped since then lies before."""
        return self.clock.bound(moment)

    def meta(self, doctype: str) -> DocType:
        """The DocType's fields and permissions, custom ones merged in. Raises NotFound where it does not exist."""
        with self._facts:
            if doctype not in self._doctypes:
                path = "/api/method/frappe.desk.form.load.getdoctype"
                body = value_of(self.transport.send("GET", path, params={"doctype": doctype}))
                self._doctypes[doctype] = DocType.of(doctype, body.get("docs") if isinstance(body, dict) else None)
            return self._doctypes[doctype]

    def user(self) -> str:
        """Who the API key belongs to. Raises CredentialsRefused, NotPermitted (no key reached Frappe)."""
        found = self.get_api("frappe.auth.get_logged_user")
        if not isinstance(found, str):
            raise _unlike("a user's name", found, "frappe.auth.get_logged_user")
        return found

    def no_dates(self, doctype: str, fields: Iterable[str]) -> list[str]:
        """Those of `fields` that are no dates of `doctype`; asks for its meta only where a name does not tell."""
        asked = [field for field in fields if field not in ("creation", "modified")]
        return self.meta(doctype).no_dates(asked) if asked else []

    def roles(self, user: str) -> frozenset[str]:
        """Roles of `user`, with those of everybody (core/doctype/user/user.py:get_roles, open to all users).

        The User document tells only those who may read it: one's own comes without roles, which are of permlevel 1.
        """
        try:
            found = self.get_api("frappe.core.doctype.user.user.get_roles", {"uid": user})
        except errors.NotPermitted:
            return frozenset()
        if not isinstance(found, list):
            raise _unlike("a list of roles", found, "frappe.core.doctype.user.user.get_roles")
        return frozenset(map(str, found))

    # How requests are made

    def _post(self, method: str, payload: Mapping[str, Any], safety: Safety = Safety.ONCE) -> Any:
        reply = self.transport.send("POST", f"/api/method/{method}", payload=payload, safety=safety)
        try:
            return value_of(reply)
        except errors.NotFrappe as error:
            if safety is Safety.READ:
                raise
            raise errors.OutcomeUnknown(f"{method}: {error}", status=reply.status) from None

    def _document(self, method: str, path: str, doc: Mapping[str, Any]) -> Doc:
        found = value_of(self.transport.send(method, path, payload={"data": dict(doc)}))
        if not isinstance(found, dict):
            raise _unlike("the document", found, f"{method} {path}")
        return found


def _unlike(expected: str, found: Any, request: str) -> errors.NotFrappe:
    """A success whose content is not what Frappe answers to `request`."""
    return errors.NotFrappe(f"{request}: expected {expected}, got {str(found)[:60]!r}", request=request)


def _resource(doctype: str, name: str | int | None = None) -> str:
    if name is None:
        return f"/api/resource/{quoted(doctype)}"
    if name in ("", ".", ".."):
        raise errors.UsageError(f"{doctype} {name!r}: this name cannot be part of an address")
    return f"/api/resource/{quoted(doctype)}/{quoted(name)}"


def _named(doctype: str, name: str | int, filters: Filters | None) -> dict[str, Any]:
    wanted = {"name": str(name)} if name not in ("", None) else {"filters": filters}
    return {"doctype": doctype, **wanted}


def _command(params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    arguments = dict(params)
    return str(arguments.pop("cmd")), arguments
