"""Webhooks: one POST of JSON, sent once. No redirects, no retries; what a lost reply means is the caller's to say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from daemon.core.settings import Webhook
from daemon.wire import plain, tls_context

SECONDS = 10.0


class NotTaken(Exception):
    """Nothing came of it, and later something may: no connection, 429, 5xx."""


class Refused(Exception):
    """Nothing will come of it: another status than 2xx."""


class Lost(Exception):
    """It was sent, and no reply came: perhaps it arrived."""


def post(hook: Webhook, payload: Mapping[str, Any]) -> None:
    """Raises NotTaken, Refused and Lost, with a reason that holds nothing of the address but the host."""
    url = hook.url.reveal()
    tls = tls_context(verify=True, ca_file=None) if urlsplit(url).scheme == "https" else False
    headers = {name: value.reveal() for name, value in hook.headers.items()}
    headers |= {"Content-Type": "application/json", "User-Agent": "frappe-daemon"}
    try:
        with httpx.Client(verify=tls, timeout=SECONDS, follow_redirects=False, trust_env=True) as client:
            reply = client.post(url, content=json.dumps(payload, ensure_ascii=False).encode(), headers=headers)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
        raise NotTaken(f"{hook.host}: no connection ({type(error).__name__})") from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
        raise Refused(f"{hook.host}: the address cannot be asked ({type(error).__name__})") from None
    except httpx.HTTPError as error:
        raise Lost(f"{hook.host}: no reply came ({type(error).__name__})") from None
    if reply.is_success:
        return
    said = plain(reply.text, 100)
    why = f"{hook.host}: {reply.status_code}{f', {said}' if said else ''}"
    if reply.status_code == 429 or reply.status_code >= 500:
        raise NotTaken(why)
    raise Refused(why)
