"""Keyset paging: its conditions in each version's SQL, and that nothing is doubled or missed while others write."""

import secrets

import pytest

from .conftest import ADMINISTRATOR

NUMBER = 24


@pytest.fixture(scope="module")
def todos(shared):
    """ToDos of one mark: eight of each priority, four of each date, no two of the same creation."""
    mark = f"fd-contract-{secrets.token_hex(4)}"
    docs = [
        {"doctype": "ToDo", "description": mark, "priority": ("Low", "Medium", "High")[number % 3],
         "date": f"2031-01-{number % 6 + 1:02d}"}
        for number in range(NUMBER)
    ]  # fmt: skip
    names = shared.call("frappe.client.insert_many", docs=docs, user=ADMINISTRATOR).value
    yield mark
    for name in names:
        shared.delete("ToDo", name, user=ADMINISTRATOR)


KEYS = [
    ["name"],
    ["name desc"],
    ["creation", "name"],
    ["modified", "name"],
    ["modified desc", "name desc"],
    ["date", "name"],
    ["priority", "creation desc", "name desc"],
    ["priority desc", "date", "name desc"],
    ["priority", "date desc", "creation", "name"],
]


@pytest.mark.parametrize("key", KEYS, ids=", ".join)
@pytest.mark.parametrize("length", [1, 5, NUMBER, NUMBER + 1])
def test_pages_are_the_list_in_pieces(admin, todos, key, length):
    """`filters` and `or_filters` of paging.stages together are "beyond the last row", also for groups and downwards."""
    pages = list(admin.paginate("ToDo", ["description"], {"description": todos}, key=key, page_length=length))
    whole = admin.get_list("ToDo", ["name"], {"description": todos}, order_by=", ".join(key))
    assert [row["name"] for page in pages for row in page] == [row["name"] for row in whole]
    assert len(whole) == NUMBER and all(0 < len(page) <= length for page in pages)


def test_a_place_is_kept_between_two_readings(admin, todos):
    """`after` goes on where the last row was, whether or not that row is still there."""
    key = ["priority", "creation desc", "name desc"]
    everything = [
        row for page in admin.paginate("ToDo", [], {"description": todos}, key=key, page_length=50) for row in page
    ]
    for place in (0, 7, NUMBER - 1):
        found = admin.paginate("ToDo", [], {"description": todos}, key=key, after=everything[place], page_length=4)
        assert [row for page in found for row in page] == everything[place + 1 :]


@pytest.mark.parametrize("key", [["name"], ["creation", "name"], ["priority", "creation desc", "name desc"]])
def test_what_stays_is_read_once_whatever_comes_and_goes(site, admin, mark, key):
    """Between two pages one row read and one not yet read are deleted, and one is added."""
    names = admin.insert_many([{"doctype": "ToDo", "description": mark} for _ in range(15)])
    site.made += [("ToDo", name) for name in names]
    gone, added, read = set(), set(), []
    for page in admin.paginate("ToDo", ["description"], {"description": mark}, key=key, page_length=3):
        read += [row["name"] for row in page]
        unread = [name for name in names if name not in read and name not in gone]
        for name in [read[-1], *unread[-1:]]:
            admin.delete("ToDo", name)
            gone.add(name)
        added |= set(admin.insert_many([{"doctype": "ToDo", "description": mark}])) if len(added) < 5 else set()
    site.made += [("ToDo", name) for name in added]
    assert len(read) == len(set(read)), "nothing twice"
    assert set(names) - gone <= set(read), "nothing missed"


def test_pages_of_child_rows(client):
    """By their parent's DocType; child names are unique, too."""
    pages = client.paginate("Has Role", ["parent", "role"], [["parenttype", "=", "User"]], page_length=2, parent="User")
    rows = [row for page in pages for row in page]
    assert len({row["name"] for row in rows}) == len(rows) >= 3
    assert "System Manager" in {row["role"] for row in rows}
