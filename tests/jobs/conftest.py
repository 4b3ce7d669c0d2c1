"""What tests of kinds share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from daemon.sandbox.orders import Orders
from tests.jobs.shop import FIELDS, FIND, HEAD, LIST, RECORD, SITE, Shop


@pytest.fixture
def api() -> Iterator[Orders]:
    with Orders() as served:
        yield served


@pytest.fixture
def shop_for(sandbox, api, daemon_for) -> Callable[..., Shop]:
    def make(
        *, top: str = "", site: str = SITE, record: str = RECORD + FIND, fields: str = FIELDS, lists: str = LIST
    ) -> Shop:
        sandbox.seed("Customer", [{"name": name, "customer_name": name} for name in ("Acme", "Beta", "Gamma")])
        sandbox.seed("Item", [{"name": code, "item_code": code} for code in "ABC"])
        remote = f'[jobs.orders.api]\nurl = "{api.url}"\nauth = {{ bearer = {{ env = "TOKEN" }} }}\n'
        config = HEAD + top + site + remote + lists + record + fields
        return Shop(sandbox, api, daemon_for(sandbox, config, environ={"TOKEN": api.token}))

    return make


@pytest.fixture
def shop(shop_for) -> Shop:
    return shop_for()
