"""The commands about syncs as a person types them: `sync`, `conflicts`, `retry`, `explain` and what `check` says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daemon.core.links import Status
from tests.jobs.shop import FIELDS, RECORD, Shop


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
    assert code == 2 and f"{name} is held, not in conflict" in err and "`retry`" in err
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
        (("conflicts", "orders", "SO-none"), "SO-none is neither in conflict nor held"),
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
