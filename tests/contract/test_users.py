"""A role, a user and a key of its own, as `setup --user` makes them."""

import pytest

from .conftest import ADMINISTRATOR

MANAGER = "frappe.core.page.permission_manager.permission_manager"
KEYS = "frappe.core.doctype.user.user.generate_keys"
USER = "/api/method/frappe.auth.get_logged_user"


@pytest.fixture
def role(site, mark):
    return site.make("Role", role_name=f"{mark} role", desk_access=1)["name"]


@pytest.fixture
def user(site, mark, role):
    facts = {"first_name": "Daemon", "send_welcome_email": 0, "enabled": 1, "bio": f"made by {mark}"}
    return site.make("User", email=f"{mark.lower().replace(' ', '-')}@example.com", roles=[{"role": role}], **facts)[
        "name"
    ]


def as_user(site, pair):
    """Who the site takes the holder of the key for."""
    return site.get(USER, user="Guest", headers={"Authorization": f"token {pair[0]}:{pair[1]}"})


def minted(site, user):
    """(key, secret); 14 and 15 tell the secret alone."""
    answer = site.post(f"/api/method/{KEYS}", {"user": user}).value
    assert ("api_key" in answer) == (site.major >= 16)
    return site.list("User", fields=["api_key"], filters={"name": user}).value[0]["api_key"], answer["api_secret"]


def test_a_role_with_a_desk_makes_a_system_user(site, user):
    """user.py:set_system_user; `bio` keeps what was written there."""
    (row,) = site.list("User", fields=["user_type", "bio", "enabled"], filters={"name": user}).value
    assert (row["user_type"], row["enabled"]) == ("System User", 1) and row["bio"].startswith("made by")


def test_a_key_is_told_once_and_the_last_one_counts(site, user):
    """A second call keeps the key and ends the first secret."""
    first = minted(site, user)
    assert as_user(site, first).value == user
    second = minted(site, user)
    assert second[0] == first[0] and as_user(site, second).value == user
    assert as_user(site, first).status == 401


def test_a_disabled_user_has_no_key(site, user):
    """From late 15 on (auth.py:validate_api_key_secret)."""
    site.since(15)
    pair = minted(site, user)
    assert site.put("User", user, enabled=0).status == 200
    assert as_user(site, pair).status == 401


def test_who_is_no_system_manager_mints_no_key(site, user):
    """frappe.only_for."""
    reply = site.post(f"/api/method/{KEYS}", {"user": user}, user="clerk@example.com")
    assert reply.status == 403


def test_a_new_row_of_permissions_reads_and_exports(site, mark, role):
    """custom_docperm.json: that is its default; and what is not wanted can be taken out."""
    rights = [{"role": "System Manager", "read": 1, "write": 1, "create": 1, "delete": 1}]
    fields = [{"fieldname": "title", "label": "Title", "fieldtype": "Data"}]
    site.make("DocType", name=mark, module="Custom", custom=1, fields=fields, permissions=rights, is_submittable=1)
    assert site.call(f"{MANAGER}.add", parent=mark, role=role, permlevel=0).status == 200
    rows = site.list("Custom DocPerm", fields=["*"], filters={"parent": mark}, user=ADMINISTRATOR).value
    site.made += [("Custom DocPerm", row["name"]) for row in rows]
    (row,) = [row for row in rows if row["role"] == role]
    assert {key for key in ("read", "write", "create", "delete", "export", "email", "select") if row[key]} == {
        "read",
        "export",
    }
    off = {"doctype": mark, "role": role, "permlevel": 0, "ptype": "export", "value": 0}
    assert site.call(f"{MANAGER}.update", **off).status == 200
    (row,) = site.list("Custom DocPerm", fields=["*"], filters={"parent": mark, "role": role}, user=ADMINISTRATOR).value
    assert (row["read"], row["export"]) == (1, 0)


def test_the_role_that_sees_mails_need_not_be_there_before(site, user):
    """communication.py asks for the name of the role: who has it lists mails, once the DocType may be read."""
    made = not site.exists("Role", "Super Email User")
    if made:
        site.make("Role", role_name="Super Email User", desk_access=1)
    rows = site.read("User", user).value["roles"]
    roles = [{"role": row["role"]} for row in rows] + [{"role": "Super Email User"}]
    assert site.put("User", user, roles=roles).status == 200
    (row,) = site.list(
        "User", fields=["name"], filters=[["Has Role", "role", "=", "Super Email User"], ["name", "=", user]]
    ).value
    assert row["name"] == user
