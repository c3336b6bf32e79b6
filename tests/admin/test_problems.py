"""Every error of the admin API is a problem as RFC 9457 has it, and repeats no value."""

import httpx
import pytest

from nwc_service.admin import problems

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "5ec2e7" * 8


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("GET", "/api/v1/accounts/nobody", None, 404, "not-found"),
        ("GET", "/api/v1/connections/none", None, 404, "not-found"),
        ("GET", "/api/v1/payments/none", None, 404, "not-found"),
        ("GET", "/api/v1/nothing", None, 404, "not-found"),
        ("GET", "/nothing", None, 404, "not-found"),
        ("PUT", "/api/v1/accounts", {}, 405, "method-not-allowed"),
        ("POST", "/api/v1/accounts", {"name": ""}, 400, "refused"),
        ("POST", "/api/v1/accounts", {}, 422, "invalid"),
        ("POST", "/api/v1/accounts", {"name": 7, SECRET: 1}, 422, "invalid"),
        ("POST", "/api/v1/accounts", [SECRET], 422, "invalid"),
        ("POST", "/api/v1/connections", {"account": "nobody", "app": "x"}, 404, "not-found"),
        ("POST", "/api/v1/backends/none/commands/x", {}, 404, "not-found"),
        ("POST", "/api/v1/links", {"link": SECRET}, 400, "refused"),
    ],
)
async def test_an_error_says_what_is_wrong(
    owner: httpx.AsyncClient, method: str, path: str, body: object, status: int, kind: str
) -> None:
    answer = await owner.request(method, path, json=body)

    said = answer.json()
    assert answer.status_code == said["status"] == status
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    assert said["type"] == f"urn:nwc-service:problem:{kind}"
    assert said["title"]
    assert said["detail"]
    assert SECRET not in said["detail"]


async def test_every_field_that_is_wrong_is_named(owner: httpx.AsyncClient) -> None:
    answer = await owner.post("/api/v1/accounts", json={"backend": 7, "extra": SECRET})

    assert {each["field"] for each in answer.json()["errors"]} == {"name", "backend", "extra"}
    assert SECRET not in answer.text


async def test_a_body_that_is_no_json_is_refused(owner: httpx.AsyncClient) -> None:
    answer = await owner.post("/api/v1/accounts", content=SECRET.encode() + b"{")

    assert answer.status_code == 422
    assert SECRET not in answer.text
