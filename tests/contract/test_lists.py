"""What a list is: fields, conditions, order and limits, over REST and over RPC."""

import json
import secrets

import pytest

from .conftest import ADMINISTRATOR, CLERK, MANAGER

NUMBER = 23


@pytest.fixture(scope="module")
def todos(shared):
    """23 ToDos whose descriptions begin with one mark: priorities in turn, dates one day apart, each fifth empty."""
    mark = f"fd-contract-{secrets.token_hex(4)}"
    docs = [
        {
            "doctype": "ToDo",
            "description": f"{mark} {number:02d}",
            "priority": ("Low", "Medium", "High")[number % 3],
            "date": f"2031-01-{number + 1:02d}",
            "color": f"#0000{number:02d}" if number % 5 else None,
        }
        for number in range(NUMBER)
    ]
    names = shared.call("frappe.client.insert_many", docs=docs, user=ADMINISTRATOR).value
    yield mark
    for name in names:
        shared.delete("ToDo", name, user=ADMINISTRATOR)


def found(site, mark, filters=(), **more):
    params = {"filters": [["description", "like", f"{mark}%"], *filters], "limit_page_length": 0, **more}
    reply = site.list("ToDo", fields=["description", "priority", "date"], user=ADMINISTRATOR, **params)
    assert reply.status == 200, reply.response.text
    return reply.value


def test_twenty_rows_unless_told_otherwise(site, todos):
    """api/v1.py:document_list; 0 is all of them; `limit` is the same as `limit_page_length`."""
    like = [["description", "like", f"{todos}%"]]
    for limits, rows in (
        ({}, 20), ({"limit_page_length": 0}, NUMBER), ({"limit": 0}, NUMBER), ({"limit": 5}, 5),
        ({"limit_page_length": 7}, 7),
    ):  # fmt: skip
        assert len(site.list("ToDo", filters=like, user=ADMINISTRATOR, **limits).value) == rows, limits


def test_only_names_unless_fields_are_asked_for(site, todos):
    """The default of `fields` is ["name"]."""
    row = site.list("ToDo", filters={"description": f"{todos} 01"}, user=ADMINISTRATOR).value[0]
    assert list(row) == ["name"]


def test_star_is_all_columns_and_no_child_tables(site):
    """And nulls are not left out of lists."""
    rows = site.list("User", fields=["*"], filters={"name": MANAGER}, user=ADMINISTRATOR).value
    assert rows[0]["email"] == MANAGER and "creation" in rows[0] and "roles" not in rows[0]
    assert None in rows[0].values()


def test_order_and_offset(site, todos):
    """Pages follow each other where the order is unique."""
    asked = {"order_by": "description desc", "limit_page_length": 5}
    like = [["description", "like", f"{todos}%"]]
    pages = [
        site.list("ToDo", fields=["description"], filters=like, limit_start=start, user=ADMINISTRATOR, **asked).value
        for start in (0, 5, 20)
    ]
    numbers = [[int(row["description"][-2:]) for row in page] for page in pages]
    assert numbers == [[22, 21, 20, 19, 18], [17, 16, 15, 14, 13], [2, 1, 0]]


def test_an_offset_needs_a_limit(site, todos):
    """14 and 15 start at the first row all the same; the SQL of 16 is refused by MariaDB."""
    asked = {"filters": [["description", "like", f"{todos}%"]], "order_by": "name asc", "user": ADMINISTRATOR}
    reply = site.list("ToDo", limit_page_length=0, limit_start=20, **asked)
    assert reply.status == (500 if site.major >= 16 else 200)
    assert site.major >= 16 or len(reply.value) == NUMBER
    assert len(site.list("ToDo", limit_page_length=2**31 - 1, limit_start=20, **asked).value) == NUMBER - 20


def test_users_do_not_see_administrator(site):
    """core/doctype/user/user.py: its condition leaves Administrator and Guest out for everybody else."""
    for user, seen in ((ADMINISTRATOR, True), (MANAGER, False)):
        names = [row["name"] for row in site.list("User", limit_page_length=0, user=user).value]
        assert ("Administrator" in names) == seen and MANAGER in names


def test_order_by_several_columns(site, todos):
    """Each with a direction of its own."""
    rows = found(site, todos, order_by="priority asc, description desc")
    assert [row["priority"] for row in rows] == sorted(row["priority"] for row in rows)
    assert rows[0]["priority"] == "High" and rows[0]["description"] > rows[1]["description"]


@pytest.mark.parametrize(
    ("condition", "number"),
    [
        (["priority", "=", "Low"], 8),
        (["priority", "!=", "Low"], 15),
        (["priority", "in", ["Low", "High"]], 15),
        (["priority", "in", "Low,High"], 15),
        (["priority", "not in", ["Low", "High"]], 8),
        (["description", "like", "%0_"], 10),
        (["description", "not like", "%0_"], 13),
        (["color", "is", "set"], 18),
        (["color", "is", "not set"], 5),
        (["date", "<", "2031-01-05"], 4),
        (["date", ">=", "2031-01-20"], 4),
        (["date", "between", ["2031-01-02", "2031-01-05"]], 4),
        (["ToDo", "priority", "=", "High"], 7),
        (["docstatus", "=", 0], 23),
        (["docstatus", "<", 2], 23),
    ],
    ids=str,
)
def test_operators(site, todos, condition, number):
    """All that the daemon's conditions use, on filled fields."""
    assert len(found(site, todos, [condition])) == number


@pytest.mark.parametrize(
    ("condition", "number"),
    [
        (["color", "!=", "#000001"], 22),
        (["color", "not in", ["#000001"]], 22),
        (["color", "not like", "#000001"], 22),
        (["color", "<", "#000003"], 7),
        (["color", ">", "#000020"], 2),
        (["color", "=", ""], 5),
        (["color", "in", []], 5),
        (["color", "in", ["", "#000001"]], 6),
    ],
    ids=str,
)
def test_an_empty_field_is_less_than_anything_and_unlike_it(site, todos, condition, number):
    """NULL is read as "" (or the year 1) where that matters: `<` finds rows without a value, too."""
    assert len(found(site, todos, [condition])) == number


def test_an_empty_datetime_is_before_any_other(site):
    """db_query.py:prepare_filter_condition and database/query.py both wrap the column in ifnull."""
    unset = ["last_execution", "is", "not set"]
    jobs = site.list("Scheduled Job Type", filters=[unset], limit_page_length=0).value
    before = site.list("Scheduled Job Type", filters=[unset, ["last_execution", "<", "1990-01-01"]], limit="0").value
    assert len(before) == len(jobs) > 0
    assert site.list("Scheduled Job Type", filters=[unset, ["last_execution", ">", "1990-01-01"]]).value == []


def test_filters_may_be_a_dict(site, todos):
    """{field: value} and {field: [operator, value]}."""
    filters = {"description": ["like", f"{todos}%"], "priority": "Low"}
    assert len(site.list("ToDo", filters=filters, limit_page_length=0, user=ADMINISTRATOR).value) == 8


def test_text_is_compared_without_case(site, todos):
    """MariaDB's utf8mb4_unicode_ci: `=` and `like` both."""
    for condition in (["description", "=", f"{todos.upper()} 03"], ["description", "like", f"{todos.upper()} 03"]):
        assert len(site.list("ToDo", filters=[condition], user=ADMINISTRATOR).value) == 1


def test_between_days_holds_the_whole_last_day(site, todos):
    """For Datetimes the end is moved to its last microsecond (db_query.py:get_between_date_filter)."""
    day = (
        found(site, todos, limit_page_length=1)
        and site.list(
            "ToDo", fields=["creation"], filters=[["description", "like", f"{todos}%"]], user=ADMINISTRATOR
        ).value[0]["creation"][:10]
    )
    assert len(found(site, todos, [["creation", "between", [day, day]]])) == NUMBER


def test_or_filters_are_one_more_condition(site, todos):
    """filters AND (one OR other)."""
    rows = found(site, todos, or_filters=[["priority", "=", "Low"], ["description", "like", "%01"]])
    assert len(rows) == 9


def test_group_by(site, todos):
    """One row for each value."""
    like = [["description", "like", f"{todos}%"]]
    rows = site.list("ToDo", fields=["priority"], filters=like, group_by="priority", user=ADMINISTRATOR).value
    assert sorted(row["priority"] for row in rows) == ["High", "Low", "Medium"]


def test_as_dict_0_gives_lists(site, todos):
    """Values in the order of `fields`."""
    asked = {"fields": ["description", "priority"], "filters": {"description": f"{todos} 01"}, "as_dict": "0"}
    assert site.list("ToDo", user=ADMINISTRATOR, **asked).value == [[f"{todos} 01", "Medium"]]


def test_an_alias(site, todos):
    """`field as alias`."""
    asked = {"fields": ["description as d"], "filters": {"description": f"{todos} 01"}}
    assert site.list("ToDo", user=ADMINISTRATOR, **asked).value == [{"d": f"{todos} 01"}]


@pytest.mark.parametrize("where", ["fields", "filters"])
def test_an_unknown_field_is_417(site, where):
    """reportview.py:raise_invalid_field throws DataError."""
    asked = {"fields": ["no_such_field"]} if where == "fields" else {"filters": [["no_such_field", "=", 1]]}
    reply = site.list("ToDo", **asked)
    assert (reply.status, reply.kind) == (417, "DataError")
    assert "Field not permitted in query" in reply.messages


def test_a_condition_of_two_elements_fails(site):
    """The first is taken for a DocType."""
    assert site.list("ToDo", filters=[["name", "x"]]).status == 404


def test_an_unknown_operator_is_refused(site):
    """417 with the list of those that exist; 16 stumbles over it: 500."""
    assert site.list("ToDo", filters=[["name", "resembles", "x"]]).status == (500 if site.major >= 16 else 417)


def test_an_order_by_an_unknown_column(site):
    """14 and 15 leave it to the database: 500; 16 asks for the right to read it: 403."""
    assert site.list("ToDo", order_by="no_such_field asc").status == (403 if site.major >= 16 else 500)


def test_a_field_of_child_rows(site):
    """`table_field.field` in fields joins the child table: one row for each."""
    asked = {"fields": ["name", "roles.role"], "filters": [["name", "=", MANAGER]], "limit_page_length": 0}
    assert {"name": MANAGER, "role": "System Manager"} in site.list("User", **asked).value


def test_rpc_knows_only_limit_page_length(site, todos):
    """client.py:get_list drops `limit` as it drops every argument that it does not have."""
    asked = {"doctype": "ToDo", "filters": [["description", "like", f"{todos}%"]], "user": ADMINISTRATOR}
    assert len(site.call("frappe.client.get_list", limit=5, **asked).value) == 20
    assert len(site.call("frappe.client.get_list", limit_page_length=5, **asked).value) == 5
    assert len(site.call("frappe.client.get_list", limit_page_length=0, **asked).value) == NUMBER


def test_counts(site, todos):
    """client.get_count, reportview.get_count and v2's count agree."""
    asked = {"doctype": "ToDo", "filters": [["description", "like", f"{todos}%"]]}
    assert site.call("frappe.client.get_count", user=ADMINISTRATOR, **asked).value == NUMBER
    assert site.call("frappe.desk.reportview.get_count", user=ADMINISTRATOR, **asked).value == NUMBER
    if site.major >= 15:
        reply = site.get(
            "/api/v2/doctype/ToDo/count", params={"filters": json.dumps(asked["filters"])}, user=ADMINISTRATOR
        )
        assert reply.body == {"data": NUMBER}


def test_client_get_count_asks_no_permission_before_16(site):
    """client.py:get_count: 14 and 15 count for anybody; 16 goes through reportview."""
    reply = site.call("frappe.client.get_count", doctype="Error Log", user=CLERK)
    assert reply.status == (403 if site.major >= 16 else 200)
    assert site.call("frappe.desk.reportview.get_count", doctype="Error Log", user=CLERK).status == 403


def test_get_value(site, todos):
    """A dict; `{}` where nothing matches; the name may stand for filters."""
    asked = {"doctype": "ToDo", "user": ADMINISTRATOR}
    one = site.list("ToDo", filters={"description": f"{todos} 02"}, user=ADMINISTRATOR).value[0]["name"]
    assert site.call("frappe.client.get_value", fieldname="priority", filters=one, **asked).value == {
        "priority": "High"
    }
    reply = site.call("frappe.client.get_value", fieldname=["priority", "status"], filters={"name": one}, **asked)
    assert reply.value == {"priority": "High", "status": "Open"}
    assert site.call("frappe.client.get_value", fieldname="name", filters={"name": "none"}, **asked).value == {}


def test_get_single_value(site):
    """A field of a Single, by who may read it."""
    reply = site.call("frappe.client.get_single_value", doctype="System Settings", field="time_zone")
    assert reply.value == "America/New_York"


def test_child_rows_need_their_parents_doctype(site):
    """client.py:check_parent_permission: 403 without `parent` and with a DocType that has no such table."""
    for parent, status in (({}, 403), ({"parent": "ToDo"}, 403), ({"parent": "User"}, 200)):
        assert site.list("Has Role", fields=["role", "parent"], **parent).status == status, parent
    rows = site.list("Has Role", fields=["role"], filters=[["parent", "=", MANAGER]], parent="User").value
    assert {"role": "System Manager"} in rows


def test_a_condition_on_child_rows_has_four_elements(site):
    """A LEFT JOIN: a parent with two matching rows comes twice."""
    asked = {"fields": ["name"], "filters": [["Has Role", "role", "in", ["System Manager", "Sales User"]]]}
    names = [row["name"] for row in site.list("User", limit_page_length=0, **asked).value]
    assert names.count(MANAGER) == 2


def test_a_field_of_a_linked_document(site):
    """`link_field.field` in fields joins the linked DocType."""
    asked = {"fields": ["name", "reference_doctype.module as m"], "limit_page_length": 1}
    assert site.list("Error Log", **asked).status == 200


def test_a_list_that_one_may_not_read_is_403(site):
    """PermissionError."""
    reply = site.list("Error Log", user=CLERK)
    assert (reply.status, reply.kind) == (403, "PermissionError")


def test_reportview_takes_no_argument_that_it_does_not_know(site):
    """Every parameter is handed to the query: an unknown one is a TypeError."""
    reply = site.call("frappe.desk.reportview.get_list", doctype="ToDo", fields=["name"], nonsense=1)
    assert reply.status == 500 and reply.kind == "TypeError"


def test_v2_lists(site, todos):
    """15: `limit`; 16: has_next_page, and `limit=0` is nothing at all."""
    site.since(15)

    def ask(**params):
        params |= {"filters": json.dumps([["description", "like", f"{todos}%"]])}
        return site.get("/api/v2/document/ToDo", params=params, user=ADMINISTRATOR).body

    assert len(ask(limit=5)["data"]) == 5
    assert len(ask()["data"]) == 20
    assert len(ask(limit=0)["data"]) == (0 if site.major >= 16 else NUMBER)
    if site.major >= 16:
        assert ask(limit=5)["has_next_page"] is True
        assert ask(limit=NUMBER)["has_next_page"] is False
        descriptions = [
            row["description"] for row in ask(fields='["description"]', order_by="description", limit=3)["data"]
        ]
        assert descriptions == [f"{todos} {number}" for number in (22, 21, 20)], "a bare order sorts downwards"


@pytest.mark.parametrize(
    "condition", [["new_name", "!=", "abc"], ["new_name", "not in", ["abc"]], ["new_name", "<", "b"]]
)
def test_a_count_is_that_of_the_list(condition, client):
    """Empty fields included, also of a DocType whose name 14 and 15 take for SQL: guards judge by counts."""
    where = [condition, ["deleted_doctype", "=", "ToDo"]]
    assert client.count("Deleted Document", where) == len(client.get_list("Deleted Document", ["name"], where))
