"""What letters call the site that sends them."""

from types import SimpleNamespace

import pytest

from daemon.errors import NotPermitted
from daemon.jobs._letters import name_of


def site(url, answer):
    def get_doc(*_):
        if isinstance(answer, Exception):
            raise answer
        return {"app_name": answer}

    return SimpleNamespace(url=url, get_doc=get_doc)


@pytest.mark.parametrize(
    ("url", "answer", "name"),
    [
        ("https://erp.example.com", "ERPNext", "erp.example.com"),
        ("http://127.0.0.1:8000", "Acme ERP", "Acme ERP"),
        ("http://[::1]:8000", "Acme ERP", "Acme ERP"),
        ("http://site1.localhost:8000", "Acme ERP", "Acme ERP"),
        ("http://erp", None, "erp"),
        ("http://10.0.0.7", NotPermitted("no"), "10.0.0.7"),
    ],
)
def test_the_site_is_called_what_people_know_it_by(url, answer, name):
    """Its host where that is one, else what it calls itself; its address where the daemon's user may not read that."""
    assert name_of(site(url, answer)) == name
