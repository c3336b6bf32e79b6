"""A server that signs people up reaches only the accounts that it made itself."""

import httpx
import pytest

from nwc_service.admin.access import Role
from tests.admin.conftest import Askers

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.attack("A34")]


async def test_it_makes_an_account_and_a_connection_of_it(askers: Askers) -> None:
    server = askers[Role.PROVISIONING]
    account = await server.post("/api/v1/accounts", json={"name": "signed-up"})
    connection = await server.post(
        "/api/v1/connections", json={"account": "signed-up", "app": "the app"}
    )

    assert (account.status_code, connection.status_code) == (201, 201)
    assert connection.json()["uri"].startswith("nostr+walletconnect://")


@pytest.mark.parametrize("name", ["of-the-owner", "of-another-server", "nobodys"])
async def test_other_accounts_are_not_there_for_it(
    askers: Askers, owner: httpx.AsyncClient, name: str
) -> None:
    """In the same words, whether there is one or not."""
    if name == "of-the-owner":
        await owner.post("/api/v1/accounts", json={"name": name})
    if name == "of-another-server":
        await askers[Role.OPERATOR].post("/api/v1/accounts", json={"name": name})

    answer = await askers[Role.PROVISIONING].post(
        "/api/v1/connections", json={"account": name, "app": "a thief"}
    )

    assert answer.status_code == 404
    assert answer.json()["detail"] == f"there is no account {name!r}"
    made = await owner.get("/api/v1/connections", params={"limit": 1000})
    assert "a thief" not in [each["app"] for each in made.json()["items"]]


async def test_what_is_wrong_with_the_connection_is_not_told_before(askers: Askers) -> None:
    answer = await askers[Role.PROVISIONING].post(
        "/api/v1/connections", json={"account": "nobodys", "app": ""}
    )

    assert answer.status_code == 404
