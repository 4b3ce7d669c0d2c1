"""Lists in every style that APIs have: each record once on a list that stands still, and none that never ends."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from daemon import errors
from daemon.core.api import Malformed

from .conftest import NOON, URL, Wire

Row = dict[str, Any]
Answer = Callable[[dict[str, str]], httpx.Response]


def rows(count: int, gap: float = 1.0) -> list[Row]:
    return [{"id": n, "at": (NOON + timedelta(seconds=n * gap)).isoformat()} for n in range(1, count + 1)]


class Api:
    """A list of `rows` that gives at most `cap` of them in a page, in each style."""

    def __init__(self, rows: list[Row], cap: int) -> None:
        self.rows, self.cap = rows, cap

    def length(self, query: dict[str, str]) -> int:
        return min(int(query.get("limit", 10**6)), self.cap)

    def since(self, query: dict[str, str]) -> list[Row]:
        least = datetime.fromisoformat(query["since"]) if "since" in query else None
        found = [row for row in self.rows if least is None or datetime.fromisoformat(row["at"]) >= least]
        return sorted(found, key=lambda row: (row["at"], row["id"]))

    def page(self, query: dict[str, str]) -> httpx.Response:
        found, length = self.since(query), self.length(query)
        number = int(query["page"]) - 1
        data = found[number * length : (number + 1) * length]
        more = (number + 1) * length < len(found)
        return httpx.Response(
            200, json={"data": data, "pages": -(-len(found) // length), "total": len(found), "more": more}
        )

    def offset(self, query: dict[str, str]) -> httpx.Response:
        found, first = self.since(query), int(query["offset"])
        data = found[first : first + self.length(query)]
        return httpx.Response(200, json={"data": data, "total": len(found), "more": first + len(data) < len(found)})

    def cursor(self, query: dict[str, str]) -> httpx.Response:
        first = int(query.get("cursor", "c0")[1:])
        end = first + self.length(query)
        following = f"c{end}" if end < len(self.rows) else None
        return httpx.Response(200, json={"data": self.rows[first:end], "meta": {"next": following}})

    def last_id(self, query: dict[str, str]) -> httpx.Response:
        found = [row for row in self.rows if row["id"] > int(query.get("cursor", 0))]
        data = found[: self.length(query)]
        return httpx.Response(200, json={"data": data, "more": len(data) < len(found)})

    def next(self, query: dict[str, str]) -> httpx.Response:
        data, following = self._linked(query)
        return httpx.Response(200, json={"data": data, "links": {"next": following}})

    def link(self, query: dict[str, str]) -> httpx.Response:
        data, following = self._linked(query)
        other = f'<{URL}/list?at=0>; rel="first"'
        header = f'{other}, <{following}>; rel="next"' if following else other
        return httpx.Response(200, json={"data": data}, headers={"link": header})

    def _linked(self, query: dict[str, str]) -> tuple[list[Row], str | None]:
        first, length = int(query.get("at", 0)), self.length(query)
        end = first + length
        following = f"/v1/list?{urlencode({'at': end, 'limit': length})}" if end < len(self.rows) else None
        return self.rows[first:end], following


LIMIT = {"length": "limit"}
STYLES: dict[str, tuple[str, dict[str, Any]]] = {
    "page, until an empty one": ("page", {"style": "page", **LIMIT}),
    "page, pages": ("page", {"style": "page", "pages": "pages", **LIMIT}),
    "page, total": ("page", {"style": "page", "total": "total", **LIMIT}),
    "page, more": ("page", {"style": "page", "more": "more", **LIMIT}),
    "page, by stamp": ("page", {"style": "page", "by_stamp": True, **LIMIT}),
    "page, by stamp and pages": ("page", {"style": "page", "by_stamp": True, "pages": "pages", **LIMIT}),
    "offset, until an empty one": ("offset", {"style": "offset", **LIMIT}),
    "offset, total": ("offset", {"style": "offset", "total": "total", **LIMIT}),
    "offset, more": ("offset", {"style": "offset", "more": "more", **LIMIT}),
    "offset, by stamp": ("offset", {"style": "offset", "by_stamp": True, "total": "total", **LIMIT}),
    "cursor": ("cursor", {"style": "cursor", "next": "meta.next", **LIMIT}),
    "last id, until an empty one": ("last_id", {"style": "cursor", "last_id": True, **LIMIT}),
    "last id, more": ("last_id", {"style": "cursor", "last_id": True, "more": "more", **LIMIT}),
    "next": ("next", {"style": "next", "next": "links.next", **LIMIT}),
    "link": ("link", {"style": "link", **LIMIT}),
}


def reader(paging: dict[str, Any], **more: Any) -> Wire:
    record = {"id": "id", "stamp": "at", "version": None, "find": None}
    lists = {"path": "/list", "records": "data", "since": "since", "paging": paging, **more}
    return Wire(list=lists, record=record, retry={"attempts": 1})


def read(paging: dict[str, Any], answer: Answer, since: datetime | None = None, **more: Any) -> list[Any]:
    one = reader(paging, **more)
    with respx.mock(base_url="https://api.example.com") as router:
        router.route(path="/v1/list").mock(side_effect=lambda request: answer(dict(request.url.params)))
        try:
            return [entry for page in one.remote.changed(since) for entry in page]
        finally:
            one.transport.close()


@pytest.mark.parametrize("style", STYLES)
@given(st.integers(0, 25), st.integers(1, 7), st.integers(1, 7), st.sampled_from([0.0, 0.0001, 0.3, 1.0, 90_000.0]))
def test_each_record_is_handed_out_once(style: str, count: int, size: int, cap: int, gap: float) -> None:
    """Whatever is asked for and given, also where the API gives fewer in a page than it was asked for, and where many
    records have one stamp."""
    way, paging = STYLES[style]
    size = max(size, 2) if "stamp" in style else size
    api = Api(rows(count, gap), cap)
    found = read({**paging, "size": size}, getattr(api, way))
    assert [entry.id for entry in found] == [str(n) for n in range(1, count + 1)]


@given(st.integers(0, 25), st.integers(2, 7), st.integers(0, 26), st.sampled_from(["page", "offset"]))
def test_a_list_by_stamp_begins_where_it_is_asked_to(count: int, size: int, since: int, style: str) -> None:
    """With that moment itself, each record once."""
    api = Api(rows(count), 100)
    paging = {"style": style, "by_stamp": True, "size": size, **LIMIT}
    found = read(paging, getattr(api, style), NOON + timedelta(seconds=since))
    assert [entry.id for entry in found] == [str(n) for n in range(max(since, 1), count + 1)]


@given(st.integers(1, 25), st.integers(2, 7), st.lists(st.integers(0, 24), max_size=25))
def test_a_list_by_stamp_misses_nobody_while_others_write(count: int, size: int, edits: list[int]) -> None:
    """Before each page somebody edits a record, which moves to the end. All that is no younger than the youngest that
    was handed out has been handed out, so that a cursor may stand there."""
    api = Api(rows(count), 100)
    pending, latest = list(edits), count

    def answer(query: dict[str, str]) -> httpx.Response:
        nonlocal latest
        if pending and (number := pending.pop()) < count:
            latest += 1
            api.rows[number]["at"] = (NOON + timedelta(seconds=latest)).isoformat()
        return api.page(query)

    found = read({"style": "page", "by_stamp": True, "size": size, **LIMIT}, answer)
    cursor = max(entry.stamp for entry in found)
    there = {(str(row["id"]), moment) for row in api.rows if (moment := datetime.fromisoformat(row["at"])) <= cursor}
    assert there <= {(entry.id, entry.stamp) for entry in found}
    assert cursor >= NOON + timedelta(seconds=count)


def test_pages_are_read_when_they_are_wanted_and_forgotten() -> None:
    """Memory stays that of a page, however long the list is."""

    def peak(count: int) -> int:
        one = reader({"style": "page", "size": 100, **LIMIT})

        def answer(request: httpx.Request) -> httpx.Response:
            first = (int(request.url.params["page"]) - 1) * 100
            data = [
                {"id": n, "at": "2026-01-05T12:00Z", "note": "x" * 1000} for n in range(first, min(first + 100, count))
            ]
            return httpx.Response(200, json={"data": data})

        one.transport.close()
        one.transport.http = httpx.Client(transport=httpx.MockTransport(answer))  # respx keeps all requests
        gc.freeze()
        tracemalloc.start()
        for page in one.remote.changed():
            assert len(page) == 100
            gc.collect()  # of what httpx leaves in cycles
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        gc.unfreeze()
        one.transport.close()
        return used

    assert peak(4_000) / peak(1_000) < 1.2


# Lies


@pytest.mark.parametrize("style", [style for style in STYLES if "last id" not in style])
def test_an_api_that_always_gives_the_same_page_is_found_out(style: str) -> None:
    """It ignores the parameter, or leads back to where it was: at the second page, not after ever so many."""
    way, paging = STYLES[style]
    api, asked = Api(rows(6), 100), list[dict[str, str]]()
    first = {"page": {"page": "1"}, "offset": {"offset": "0"}}.get(way, {})

    def answer(query: dict[str, str]) -> httpx.Response:
        asked.append(query)
        return getattr(api, way)({"limit": "2", **first})

    with pytest.raises(errors.RemoteListBroken, match="came again"):
        read({**paging, "size": 2}, answer)
    assert len(asked) <= 3


def test_a_cursor_that_comes_round_is_found_out() -> None:
    """Also where others came between."""
    cursors = iter("abcabc")
    answer = lambda _: httpx.Response(200, json={"data": [], "meta": {"next": next(cursors)}})  # noqa: E731
    with pytest.raises(errors.RemoteListBroken, match="a cursor came again"):
        read({"style": "cursor", "next": "meta.next"}, answer)
    assert list(cursors) == ["b", "c"]


def test_a_list_that_makes_up_cursors_ends() -> None:
    """After as many pages as the settings allow."""
    count = iter(range(100))
    answer = lambda _: httpx.Response(200, json={"data": [], "meta": {"next": next(count)}})  # noqa: E731
    with pytest.raises(errors.RemoteListBroken, match="did not end after 7 pages") as caught:
        read({"style": "cursor", "next": "meta.next", "most_pages": 7}, answer)
    assert "most_pages" in caught.value.action and next(count) == 7


@pytest.mark.parametrize("style", ["next", "link"])
@pytest.mark.parametrize(
    "target",
    ["https://evil.example.com/list", "//evil.example.com/", "https://u:p@api.example.com/", "http://[", "ftp://x/"],
)
def test_a_next_page_elsewhere_is_not_gone_to(style: str, target: str) -> None:
    """The secret would go there with it."""

    def answer(_: dict[str, str]) -> httpx.Response:
        body = {"data": [], "links": {"next": target}}
        return httpx.Response(200, json=body, headers={"link": f'<{target}>; rel="next"'})

    with pytest.raises(errors.RemoteListBroken, match="our secret goes to the API alone") as caught:
        read({"style": style, **({"next": "links.next"} if style == "next" else {})}, answer)
    assert "u:p" not in str(caught.value)


def test_a_next_page_without_tls_is_asked_for_with_it() -> None:
    """A server behind a proxy that speaks TLS for it knows itself by http."""
    pages = iter([{"data": [], "links": {"next": "http://api.example.com/v1/list?at=5"}}, {"data": rows(1)}])
    assert len(read({"style": "next", "next": "links.next"}, lambda _: httpx.Response(200, json=next(pages)))) == 1


def test_a_list_by_stamp_that_is_not_in_order_is_found_out() -> None:
    """Records would be missed for good."""
    mixed = [*rows(3), *rows(2)]
    with pytest.raises(errors.RemoteListBroken, match="not ordered by at"):
        read({"style": "page", "by_stamp": True, "size": 5}, lambda _: httpx.Response(200, json={"data": mixed}))


def test_a_list_by_stamp_that_ignores_the_moment_is_found_out() -> None:
    """It begins with what is older than was asked for, beyond the day that some APIs round to."""
    days = Api(rows(9, 86_400), 2)
    with pytest.raises(errors.RemoteListBroken, match="it begins with"):
        read(
            {"style": "page", "by_stamp": True, **LIMIT},
            lambda query: days.page(query | {"since": "2000-01-01T00:00:00Z"}),
        )


@pytest.mark.parametrize(
    ("body", "records", "says"),
    [
        ({"data": {}}, "data", "no array of records at 'data'"),
        ({"items": []}, "data", "no array of records at 'data'"),
        ({"data": None}, "data", "no array"),
        ({"data": []}, "", "no array of records as its body"),
        (None, "data", "no array"),
    ],
)
def test_a_reply_without_a_list_is_no_empty_list(body: Any, records: str, says: str) -> None:
    """A wrong path must not look like an API that has nothing."""
    reply = httpx.Response(200, json=body) if body is not None else httpx.Response(204)
    with pytest.raises(errors.NotTheApi, match=says) as caught:
        read({"style": "none"}, lambda _: reply, records=records)
    assert "list.records" in caught.value.action


def test_a_list_that_does_not_say_whether_there_is_more_is_refused() -> None:
    """Where the settings say that it does; else it would end after its first page."""
    with pytest.raises(errors.NotTheApi, match=r"does not say at 'meta\.more'"):
        read({"style": "page", "more": "meta.more"}, Api(rows(3), 1).page)


@pytest.mark.parametrize("cursor", [{"a": 1}, [1], 1.5])
def test_a_cursor_is_text_or_a_whole_number(cursor: Any) -> None:
    """Anything else is a wrong path."""
    reply = httpx.Response(200, json={"data": [], "meta": {"next": cursor}})
    with pytest.raises(errors.RemoteListBroken, match="is no cursor"):
        read({"style": "cursor", "next": "meta.next"}, lambda _: reply)


@pytest.mark.parametrize("paging", [{"style": "cursor", "next": "n"}, {"style": "next", "next": "n"}])
@pytest.mark.parametrize("bad", ["\ud800", "/v1/list?at=\ud800"])
def test_what_no_address_can_hold_is_no_next_page(paging: dict[str, Any], bad: str) -> None:
    """JSON can say half of a surrogate pair, UTF-8 cannot."""
    content = json.dumps({"data": [], "n": bad}).encode()
    with pytest.raises(errors.RemoteListBroken):
        read(paging, lambda _: httpx.Response(200, content=content))


def test_a_404_beyond_the_first_page_ends_the_list() -> None:
    """As Django's APIs say it; to the first page it is an error, for then the path is wrong."""
    api = Api(rows(3), 2)
    last = lambda query: api.page(query) if int(query["page"]) < 3 else httpx.Response(404)  # noqa: E731
    assert len(read({"style": "page"}, last)) == 3
    with pytest.raises(errors.RemoteMisused):
        read({"style": "page"}, lambda _: httpx.Response(404))


def test_a_short_page_ends_the_list_where_the_settings_say_so() -> None:
    """One request less."""
    asked: list[dict[str, str]] = []

    def answer(query: dict[str, str]) -> httpx.Response:
        asked.append(query)
        return Api(rows(5), 100).page(query)

    assert len(read({"style": "page", "short_ends": True, "size": 3, **LIMIT}, answer)) == 5
    assert [query["page"] for query in asked] == ["1", "2", "1"]


def test_one_page_is_all_where_there_are_no_more() -> None:
    """style = "none" asks once."""
    assert len(read({"style": "none"}, lambda query: httpx.Response(200, json=rows(3)), records="")) == 3


def test_a_first_page_may_have_any_number() -> None:
    """Some count from 0."""
    api = Api(rows(5), 2)
    shifted = lambda query: api.page(query | {"page": str(int(query["page"]) + 1)})  # noqa: E731
    for ends in ({"pages": "pages"}, {"total": "total", "size": 2}, {}):
        assert [e.id for e in read({"style": "page", "first": 0, **ends}, shifted)] == list("12345")


def test_constant_parameters_and_the_order_go_with_every_page() -> None:
    """As they are written, true and false as these words."""
    asked: list[dict[str, str]] = []

    def answer(query: dict[str, str]) -> httpx.Response:
        asked.append(query)
        return Api(rows(3), 2).page(query)

    read({"style": "page"}, answer, NOON, params={"state": "any", "deep": True, "n": 3}, order={"sort": "at"})
    fixed = {"state": "any", "deep": "true", "n": "3", "sort": "at", "since": "2026-01-05T12:00:00+00:00"}
    assert asked == [{**fixed, "page": str(page)} for page in (1, 2, 1, 3, 2)]


def test_malformed_entries_have_their_place_in_the_whole_list() -> None:
    """Counted over all pages, from 1; by stamp each is told once though it comes again."""
    broken: list[Any] = rows(6)
    broken[3] = {"at": broken[3]["at"]}

    class Broken(Api):
        def since(self, query: dict[str, str]) -> list[Row]:
            least = query.get("since", "")
            return [row for row in self.rows if datetime.fromisoformat(row["at"]).isoformat() >= least]

    for paging in ({"style": "page"}, {"style": "page", "by_stamp": True}):
        found = read(paging, Broken(broken, 2).page)
        bad = [entry for entry in found if isinstance(entry, Malformed)]
        assert len(bad) == 1 and len(found) == 6 and bad[0].why == "it has no 'id'"
        if "by_stamp" not in paging:
            assert bad[0].position == 4


@pytest.mark.parametrize("style", ["page", "offset"])
def test_what_is_odd_beside_the_records_spoils_the_list(style: str) -> None:
    """It may hide how the list goes on; within a record it spoils that record alone."""
    content = b'{"data": [{"id": 1, "at": "2026-01-05T12:00:00Z", "x": NaN}, {"id": 2, "at": "2026-01-05T12:00:00Z"}]}'
    bad, good = read({"style": style, "short_ends": True}, lambda _: httpx.Response(200, content=content))
    assert isinstance(bad, Malformed) and bad.id == "1" and "its x is NaN" in bad.why and good.id == "2"
    for odd in (b'"pages": NaN', b'"data": [], "data": []'):
        with pytest.raises(errors.NotTheApi, match=r"JSON was expected, but|no array"):
            read({"style": style}, lambda _, odd=odd: httpx.Response(200, content=b'{"total": 1, %s}' % odd))
