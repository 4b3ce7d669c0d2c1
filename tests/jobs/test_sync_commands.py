"""The commands about syncs as a person types them: `sync`, `conflicts`, `retry`, `explain` and what `check` says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daemon.core.links import Status
from daemon.sandbox import Fault
from tests.jobs.shop import FIELDS, RECORD, SITE, Shop


@pytest.fixture
def typed(shop, run):
    """Runs a command against the shop's configuration."""
    return typer(shop, run)


def typer(shop: Shop, run: Any) -> Any:
    def command(*arguments: str) -> tuple[int, str, str]:
        found: tuple[int, str, str] = run(*arguments, "--config", shop.daemon.file, environ=shop.daemon.environ)
        return found

    return command


def in_conflict(shop: Shop) -> tuple[str, str]:
    """(document, record) of a pair that both sides changed."""
    name = shop.order()
    shop.run()
    id_ = str(shop.doc(name)["custom_external_id"])
    shop.edit(name, po_no="ours")
    shop.api.edit(id_, note="theirs")
    shop.run()
    return name, id_


def test_sync_runs_both_directions_and_says_what_it_did(shop, typed) -> None:
    """By the section's name, though its directions have schedules of their own; dry, it does nothing."""
    shop.order()
    shop.placed()
    code, out, _ = typed("sync", "orders", "--dry-run", "--json")
    found = json.loads(out)
    assert code == 0 and found["counts"] == {"planned": 2} and len(shop.api.orders) == 1
    code, out, _ = typed("sync", "orders")
    assert code == 0 and "done" in out and len(shop.api.orders) == 2
    assert shop.sandbox.count("Sales Order") == 2


@pytest.mark.parametrize("keep", ["site", "remote"])
def test_a_conflict_is_listed_decided_and_carried_out(keep, shop, typed) -> None:
    """With what each side has; both the document's name and the record's id name the pair."""
    name, id_ = in_conflict(shop)
    code, out, _ = typed("conflicts")
    assert code == 0 and f"{name} ↔ {id_}" in out and "po_no: site 'ours', remote 'theirs'" in out
    (told,) = json.loads(typed("conflicts", "orders", "--json")[1])
    assert told["fields"] == {"po_no": ["ours", "theirs"]} and told["waiting"] is False
    code, out, _ = typed("conflicts", "orders", name if keep == "site" else id_, "--keep", keep)
    assert code == 0 and f"the next run of orders keeps what the {keep} has" in out
    assert "the next run looks at it" in typed("conflicts")[1]
    assert typed("sync", "orders")[0] == 0
    assert shop.doc(name)["po_no"] == shop.api.orders[id_]["note"] == {"site": "ours", "remote": "theirs"}[keep]
    assert "No pair waits for a person." in typed("conflicts")[1]


def test_a_pair_that_is_held_is_retried_when_told_so(shop, typed) -> None:
    """`retry` of one pair or of all; `--keep` says that there is nothing to decide."""
    name = shop.order()
    shop.run()
    id_ = str(shop.doc(name)["custom_external_id"])
    shop.api.edit(id_, items=[{"sku": "B", "qty": 1, "rate": 5}])  # no submitted document takes that
    assert typed("sync", "orders")[0] == 1
    assert shop.link(name).status == Status.HELD
    code, _, err = typed("conflicts", "orders", name, "--keep", "site")
    assert code == 2 and f"{name} is held, not in conflict" in err and f"retry orders {name}`" in err
    shop.api.edit(id_, items=[{"sku": "A", "qty": 1, "rate": 5}])
    assert "one pair is tried again by the next run" in typed("retry", "orders", name)[1]
    assert typed("sync", "orders")[0] == 0 and shop.link(name).status == Status.LINKED
    assert "0 pairs are tried again by the next run" in typed("retry", "orders")[1]


def test_what_was_mistyped_is_said_with_exit_code_2(shop, typed) -> None:
    """An unknown job, document or moment, a decision about no pair: each in one sentence."""
    name, _ = in_conflict(shop)
    for arguments, said in (
        (("sync", "ordres"), "has no job 'ordres'; did you mean 'orders'?"),
        (("sync", "orders", "--since", "yesterday"), "is no moment; write it as 2026-01-31T08:00+01:00"),
        (("sync", "orders", "--since", "2026-01-31T08:00"), "names no zone"),
        (("sync", "orders", "--since", "9999-12-31T23:59:59+00:00"), "no list goes back, or on, to that year"),
        (("sync", "orders", "--since", "0001-01-01T00:00:00+14:00"), "no list goes back, or on, to that year"),
        (("conflicts", "orders", "SO-none"), "SO-none is neither in conflict nor held, nor has it failed"),
        (("conflicts", "orders", "SO-none", "--keep", "site"), "SO-none is neither in conflict nor held"),
        (("conflicts", "orders", "--all"), "--all and --yes belong to --keep"),
        (("conflicts", "orders", "--all", "--keep", "site"), "1 pair of orders in conflict: keep what the site has?"),
        (("conflicts", "orders", name, "--all", "--keep", "site"), "--keep decides one pair"),
        (("retry", "orders", "--again"), "--again is for one pair"),
        (("relink", "orders", name), f"{name} is conflict, so there is nothing to pair again"),
        (("relink", "orders", "SO-none"), "SO-none is not known"),
        (("conflicts", "--keep", "site"), "--keep decides one pair: name the job and the document or record"),
        (("retry", "orders", name), f"{name} has neither failed nor is it held"),
        (("explain", "orders", "SO-none"), "knows no document or record SO-none"),
        (("explain", "orders"), "Missing argument"),
    ):
        code, _, err = typed(*arguments)
        assert code == 2 and said in err, (arguments, err)


def test_explain_tells_how_a_pair_stands(shop, typed) -> None:
    """By either name, with the run that looked at it last."""
    name, id_ = in_conflict(shop)
    for word in (name, id_):
        code, out, _ = typed("explain", "orders", word)
        assert code == 0 and f"{name} ↔ {id_}" in out and "both sides changed" in out and "conflict" in out


def test_a_stop_is_released_by_the_command_that_it_names(shop_for, run) -> None:
    """All records suddenly gone: nothing is deleted, and every run says so until a person has looked."""
    shop = shop_for(top='deleted = { remote = "propagate" }\n')
    typed = typer(shop, run)
    for _ in range(3):
        shop.placed()
    assert typed("sync", "orders")[0] == 0
    kept = dict(shop.api.orders)
    shop.api.orders.clear()
    for _ in range(2):
        code, out, err = typed("sync", "orders", "--full")
        assert code == 1 and "frappe-daemon sync orders --release" in out + err
    assert shop.sandbox.count("Sales Order") == 3
    shop.api.orders.update(kept)
    assert typed("sync", "orders", "--release", "--full")[0] == 0
    assert typed("sync", "orders")[0] == 0 and shop.sandbox.count("Sales Order") == 3


def test_check_looks_at_the_other_api_too(shop, typed) -> None:
    """It answers, and each finding comes once although there are two directions."""
    shop.placed()
    found = json.loads(typed("check", "--json")[1])
    said = [one["what"] for one in found if one["subject"] == "orders"]
    assert any("answers; the first page of its list holds 1 records" in what for what in said)
    assert len(said) == len(set(said)) == 2


@pytest.mark.parametrize(
    ("change", "token", "said"),
    [
        ({}, "wrong", "the token is not valid (HTTP 401)"),
        (
            {"record": RECORD.replace("updated_at", "changed")},
            "",
            "1 of 1 entries of the list cannot be told, such as number 1: it has no 'changed'",
        ),
        ({"fields": FIELDS.replace('"note"', '"notes"')}, "", "has anything at 'notes'"),
    ],
)
def test_check_finds_what_a_run_would_stumble_over(change, token, said, shop_for, run) -> None:
    """A token that is refused, a stamp and a field that no record has, the first two so that no run could work."""
    shop = shop_for(**change)
    shop.placed(note="x")
    shop.daemon.environ |= {"TOKEN": token} if token else {}
    code, out, _ = typer(shop, run)("check", "--json")
    assert said in " ".join(one["what"] for one in json.loads(out)), out
    assert code == (0 if "fields" in change else 1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('key = "item_code"\n', "", "fields[5]: key names one of the rows' fields (item_code, qty, rate)"),
        (
            'site = "po_no"\nremote = "note"',
            'site = "po_no"',
            "fields[2]: names a field of the site and a field of the",
        ),
        ('remote = "note"', 'remote = "note"\nkey = "x"', "fields[2]: key is for a child table: it needs rows"),
    ],
)
def test_a_mapping_that_is_wrong_is_said_in_a_sentence(old, new, said, shop, typed) -> None:
    """A field may hold fields of its own, its rows: the search for secrets among them comes to an end."""
    shop.daemon.file.write_text(shop.daemon.file.read_text().replace(old, new))
    code, _, err = typed("check", "--offline")
    assert code == 78 and f"jobs.orders.{said}" in err


def test_a_name_of_two_pairs_decides_neither(shop_for, run) -> None:
    """A document of one pair may be called what a record of another is: then the other side names the pair."""
    shop = shop_for(site=SITE.replace('filters = [["docstatus", "=", 1]]\n', ""))
    typed = typer(shop, run)
    name, id_ = in_conflict(shop)
    shop.api.orders[name] = {**shop.api.orders[id_], "id": name, "order_id": None}
    shop.api.edit(name, note="")
    shop.run()
    other = shop.by_id(name)["name"]
    shop.edit(other, po_no="ours")
    shop.api.edit(name, note="theirs")
    shop.run()
    code, _, err = typed("conflicts", "orders", name, "--keep", "site")
    assert code == 2 and f"{name} names 2 pairs: {name} ↔ {id_} and {other} ↔ {name}" in err
    assert typed("conflicts", "orders", other, "--keep", "site")[0] == 0
    assert typed("conflicts", "orders", id_, "--keep", "remote")[0] == 0
    assert typed("sync", "orders")[0] == 0
    assert (shop.doc(other)["po_no"], shop.doc(name)["po_no"]) == ("ours", "theirs")


def test_what_failed_is_listed_with_its_next_try(shop, typed) -> None:
    """It needs nobody yet, but whoever looks wants to know."""
    shop.api.faults.add(Fault("status", method="POST", path="/orders", code=422, html=False, times=1))
    name = shop.order()
    assert typed("sync", "orders")[0] == 1
    (told,) = json.loads(typed("conflicts", "orders", "--json")[1])
    assert told["document"] == name and told["status"] == "failed" and told["next_try"] > told["run"][:4]
    assert f"tried again {told['next_try'][:16]}" in typed("conflicts")[1]


def test_a_decision_during_a_run_is_refused_and_not_lost(shop, typed) -> None:
    """The run has read the pair before and would write it down as it was: `--keep`, `retry` and `relink` say so."""
    name, id_ = in_conflict(shop)
    shop.api.edit(id_, status="paid")
    shop.placed()
    told: list[Any] = []
    commands = (("conflicts", "orders", name, "--keep", "site"), ("retry", "orders"), ("relink", "orders", name))

    def decide(writing: bool) -> None:
        if writing and not told:
            told.extend(typed(*words) for words in commands)

    shop.watched("pull", decide)
    assert all(code and "a run of orders is going on" in err for code, _, err in told) and len(told) == 3
    assert typed("conflicts", "orders", name, "--keep", "site")[0] == 0
    assert typed("sync", "orders")[0] == 0 and shop.api.orders[id_]["note"] == "ours"


def test_a_record_that_was_looked_for_in_vain_is_asked_for_anew(shop_for, run) -> None:
    """Its reply was lost, and the API can neither be asked for it nor told twice: a person has looked instead."""
    shop = shop_for(record=RECORD, fields=FIELDS)
    typed = typer(shop, run)
    shop.api.faults.add(Fault("cut", method="POST", path="/orders", times=1))
    name = shop.order()
    shop.run("push")
    shop.run("push")
    assert shop.link(name).status == Status.HELD and not shop.api.orders
    code, _, err = typed("conflicts", "orders", name, "--keep", "site")
    assert code == 2 and f"`frappe-daemon retry orders {name} --again`" in err
    typed("retry", "orders", name)
    shop.run("push")
    assert shop.link(name).status == Status.HELD and not shop.api.orders
    first = shop.link(name).key
    assert typed("retry", "orders", name, "--again")[0] == 0
    assert typed("sync", "orders")[0] == 0
    assert len(shop.api.orders) == 1 and shop.link(name).status == Status.LINKED
    assert shop.link(name).key not in ("", first)
    assert typed("retry", "orders", name, "--again")[0] == 2


def test_a_parted_pair_is_paired_again(shop, typed) -> None:
    """From what both held when they last agreed: what either side changed since goes to the other."""
    id_ = shop.placed()
    shop.placed()
    shop.run()
    name = shop.by_id(id_)["name"]
    kept = shop.api.orders.pop(id_)
    shop.run(wish={"full": True})
    shop.api.orders[id_] = kept
    shop.api.edit(id_, status="shipped")
    shop.edit(name, po_no="meanwhile", docstatus=1)
    shop.run(wish={"full": True})
    assert shop.link(id_).status == Status.ENDED and shop.doc(name)["custom_external_status"] == "new"
    out = typed("explain", "orders", name, "--json")[1]
    assert "the record was deleted, so its twin lives on its own" in out and f"relink orders {name}" in out
    assert typed("relink", "orders", id_)[0] == 0
    assert typed("sync", "orders")[0] == 0 and shop.link(id_).status == Status.LINKED
    assert shop.doc(name)["custom_external_status"] == "shipped" and shop.api.orders[id_]["note"] == "meanwhile"


@pytest.mark.parametrize("lost", ["document", "record"])
def test_what_is_left_of_a_parted_pair_gets_a_twin_anew(lost, shop, typed) -> None:
    """Where the twin is gone for good, and a person wants another."""
    id_ = shop.placed(note="kept")
    shop.placed()
    shop.run()
    name = shop.by_id(id_)["name"]
    shop.edit(name, docstatus=1)
    shop.run()
    if lost == "record":
        shop.api.remove(id_)
    else:
        shop.edit(name, docstatus=2)
        shop.site(lambda site: site.delete("Sales Order", name))
    shop.run(wish={"full": True})
    left = name if lost == "record" else id_
    assert shop.link(left).status == Status.ENDED
    assert typed("relink", "orders", left)[0] == 0
    for _ in range(2):
        assert typed("sync", "orders")[0] == 0
    found = shop.link(left)
    assert found.status == Status.LINKED and (found.remote, found.name) != (id_, name)
    assert shop.api.orders[found.remote]["note"] == shop.doc(found.name)["po_no"] == "kept"


@pytest.mark.parametrize("keep", ["site", "remote"])
def test_all_conflicts_of_a_job_are_decided_at_once(keep, shop, typed) -> None:
    """Once their number was seen and agreed to."""
    pairs = [in_conflict(shop) for _ in range(3)]
    assert typed("conflicts", "orders", "--keep", keep, "--all")[0] == 2
    code, out, _ = typed("conflicts", "orders", "--keep", keep, "--all", "--yes")
    assert code == 0 and f"3 pairs: the next run of orders keeps what the {keep} has" in out
    assert typed("sync", "orders")[0] == 0
    value = {"site": "ours", "remote": "theirs"}[keep]
    assert all(shop.doc(name)["po_no"] == shop.api.orders[id_]["note"] == value for name, id_ in pairs)


def test_a_resync_keeps_what_was_agreed_about_fields_that_mean_the_same(shop_for, run) -> None:
    """In a field that is added both sides never agreed. What waited in the others goes on as if nothing had been."""
    part = '[[jobs.orders.fields]]\nsite = "po_no"\nremote = "note"\n'
    shop = shop_for(fields=FIELDS.replace(part, ""))
    typed = typer(shop, run)
    ids = [shop.placed(note="") for _ in range(3)]
    shop.run()
    shop.api.edit(ids[0], customer="Beta")
    shop.edit(shop.by_id(ids[1])["name"], po_no="ours", docstatus=1)
    shop.api.edit(ids[1], note="theirs")
    shop.daemon.file.write_text(shop.daemon.file.read_text() + part)
    assert "the mapping, a filter or an address was changed" in typed("sync", "orders")[2]
    assert typed("sync", "orders", "--resync")[0] == 1
    assert [shop.link(id_).status for id_ in ids] == ["linked", "conflict", "linked"]
    assert shop.by_id(ids[0])["customer"] == "Beta" and shop.link(ids[1]).detail == {
        "paths": {"po_no": ["ours", "theirs"]}
    }
    assert typed("conflicts", "orders", "--keep", "site", "--all", "--yes")[0] == 0
    assert typed("sync", "orders")[0] == 0 and shop.api.orders[ids[1]]["note"] == "ours"
