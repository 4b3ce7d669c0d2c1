"""Which rights a role of ours needs: from needs and what DocTypes say, without a site."""

from __future__ import annotations

import pytest

from daemon.core.doctype import DocType, Field
from daemon.core.kind import Need
from daemon.core.rights import rights_of

ALL = {"role": "All", "read": 1, "write": 1}
METAS = {
    "Note": DocType("Note", permissions=(ALL,)),
    "ToDo": DocType("ToDo", permissions=(ALL,)),
    "Mine": DocType("Mine", permissions=({**ALL, "if_owner": 1},)),
    "Log": DocType("Log"),
    "Order": DocType("Order", (Field("customer", "Customer", "Link", "Customer"),), is_submittable=True),
    "Customer": DocType("Customer"),
    "Communication": DocType("Communication"),
    "Email Queue": DocType("Email Queue"),
}


def found(*needs: Need):
    return rights_of((("job", need) for need in needs), METAS.get)


@pytest.mark.parametrize(
    ("need", "given"),
    [
        (Need("Log", rights=("delete",)), ["read", "delete"]),
        (Need("Note", rights=("read", "delete")), ["delete"]),  # the rest everybody may
        (Need("Note"), None),
        (Need("ToDo"), ["read"]),  # its code counts roles of one's own alone
        (Need("Mine"), ["read"]),  # what one owns is not enough
        (Need("Log", rights=("read", "cancel")), ["read"]),  # no document of it can be cancelled
        (Need("Log", rights=("submit",)), None),
        (Need("Gone"), None),
        (Need("Made", rights=("create",), by_setup=True), ["read", "create"]),
        (Need("Log", rights=()), None),
    ],
)
def test_what_is_given(need, given):
    """What is needed, what that rests on, and nothing that everybody has or that cannot be."""
    rights = found(need).given.get(need.doctype)
    assert (list(rights) if rights is not None else None) == given


def test_cancelling_takes_all_that_saving_takes():
    """In the order in which one rests on the other; and ERPNext looks up the party."""
    rights = found(Need("Order", rights=("write", "cancel"), why="for a test"))
    assert list(rights.given["Order"]) == ["read", "write", "submit", "cancel"]
    assert list(rights.given["Customer"]) == ["read"]
    assert rights.whys["Order"] == ["job (read, write, submit, cancel): for a test"]


def test_what_no_role_gives_is_told_with_the_second_way():
    """Which then is what gets the rights."""
    by_rows = Need("Log", rights=("read", "delete"))
    rights = found(Need("Log Settings", rights=("write",), only_system_manager="so it is", otherwise=by_rows))
    (beyond,) = rights.beyond
    assert (beyond.job, beyond.doctype, beyond.why) == ("job", "Log Settings", "so it is")
    assert "Log goes row by row" in beyond.action and rights.given == {"Log": {"read": None, "delete": None}}
    assert not found(Need("Log", rights=("delete",), only_administrator="so it is")).given


def test_mails_are_looked_for():
    """Once for each job, whatever else it needs."""
    rights = found(Need("Communication", mail=True), Need("Communication", mail=True))
    assert rights.mailing == ["job"] and list(rights.given) == ["Communication", "Email Queue"]


def test_a_doctype_that_is_not_there_is_told_by_its_job():
    """Unless the job does without."""
    assert found(Need("Gone")).missing == {"Gone": "job"}
    assert not found(Need("Gone", lacking="it does without")).missing
