"""What the embedded relay says over plain HTTP."""

import httpx
import pytest

from nwc_service.embedded import EmbeddedRelay, RelayLimits
from tests.relay.raw import relay_of_its_own


async def get(relay: EmbeddedRelay, headers: dict[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"http://127.0.0.1:{relay.port}/", headers=headers)


@pytest.mark.parametrize("require_auth", [False, True])
async def test_the_nip_11_document_tells_the_limits(require_auth: bool) -> None:
    limits = RelayLimits(subscriptions_per_socket=7)

    async with relay_of_its_own(limits=limits, require_auth=require_auth) as relay:
        response = await get(relay, {"Accept": "application/nostr+json"})

    limitation = response.json()["limitation"]
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/nostr+json"
    assert response.headers["access-control-allow-origin"] == "*"
    assert {1, 11, 42} <= set(response.json()["supported_nips"])
    assert limitation["max_message_length"] == 131_072
    assert limitation["max_content_length"] == 65_536
    assert limitation["max_subscriptions"] == 7
    assert limitation["auth_required"] is require_auth


@pytest.mark.attack("A33")
async def test_a_browser_gets_a_line_of_text(relay: EmbeddedRelay) -> None:
    response = await get(relay, {"Accept": "text/html"})

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    assert response.text.count("\n") == 1
