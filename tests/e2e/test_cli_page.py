"""`nwc-service page`."""

import httpx
import pytest

from tests.e2e.conftest import Cli
from tests.e2e.service import ServiceProcess

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_link_signs_in(service: ServiceProcess, cli: Cli) -> None:
    uri = str((await cli.json("page"))["uri"])
    address, _, secret = uri.partition("#")

    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.post(
            address, data={"token": secret}, headers={"Sec-Fetch-Site": "same-origin"}
        )
        shown = await browser.get(address.removesuffix("sign-in"))

    assert answer.status_code == 303
    assert "Owed to users" in shown.text
