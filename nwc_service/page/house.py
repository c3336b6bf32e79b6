"""What keeps the house running: backends, relays, alarms, decisions, tokens, audit."""

from starlette.responses import Response

from nwc_service.page.visit import View, Visit, tried

ROLES = {
    "operator": "All but tokens",
    "read-only": "Look, and fetch metrics",
    "provisioning": "Make accounts, and connections of these; see nothing",
    "owner": "All",
}


async def backends(visit: Visit) -> Response:
    return visit.page(
        "backends.html", title="Backends", backends=await visit.api.get("backends")
    )


async def resume(visit: Visit) -> Response:
    async def work() -> Response:
        await visit.api.post(
            "backends", visit.part("name"), "resume", reason=visit.text("reason")
        )
        return visit.go("/backends", done="resumed")

    return await tried(visit, work(), again=backends)


async def relays(visit: Visit) -> Response:
    return visit.page("relays.html", title="Relays", relays=await visit.api.get("relays"))


async def alarms(visit: Visit) -> Response:
    return visit.page(
        "alarms.html",
        title="Alarms",
        alarms=await visit.api.get("alarms"),
        suspense=await visit.api.get("suspense"),
    )


async def clear(visit: Visit) -> Response:
    async def work() -> Response:
        await visit.api.post(
            "alarms",
            "clear",
            kind=visit.text("kind"),
            subject=visit.text("subject"),
            reason=visit.text("reason"),
        )
        return visit.go("/alarms", done="cleared")

    return await tried(visit, work(), again=alarms)


async def assign(visit: Visit) -> Response:
    async def work() -> Response:
        account = visit.text("account")
        await visit.api.post(
            "suspense",
            visit.part("payment_hash"),
            "assign",
            account=account or None,
            operator=not account,
            backend=visit.text("backend") or None,
            reason=visit.text("reason"),
        )
        return visit.go("/alarms", done="assigned")

    return await tried(visit, work(), again=alarms)


async def decisions(visit: Visit) -> Response:
    found = await visit.api.get("decisions", cursor=visit.asked("cursor"))
    return visit.page(
        "decisions.html",
        title="Decisions",
        decisions=found["items"],
        next_cursor=found["next_cursor"],
    )


async def audit(visit: Visit) -> Response:
    found = await visit.api.get("audit") if visit.asked("run") else None
    return visit.page("audit.html", title="Audit", audit=found)


async def tokens(visit: Visit) -> Response:
    return visit.page(
        "tokens.html", title="Tokens", tokens=await visit.api.get("tokens"), roles=ROLES
    )


async def create_token(visit: Visit) -> Response:
    async def work() -> Response:
        made = await visit.api.post("tokens", name=visit.text("name"), role=visit.text("role"))
        return visit.page("token_made.html", title="Keep this token now", made=made)

    return await tried(visit, work(), again=tokens)


async def revoke_token(visit: Visit) -> Response:
    async def work() -> Response:
        await visit.api.post(
            "tokens", visit.part("name"), "revoke", reason=visit.text("reason")
        )
        return visit.go("/tokens", done="revoked")

    return await tried(visit, work(), again=tokens)


ROUTES: dict[tuple[str, str], View] = {
    ("GET", "/backends"): backends,
    ("POST", "/backends/{name}/resume"): resume,
    ("GET", "/relays"): relays,
    ("GET", "/alarms"): alarms,
    ("POST", "/alarms"): clear,
    ("POST", "/suspense/{payment_hash}"): assign,
    ("GET", "/decisions"): decisions,
    ("GET", "/audit"): audit,
    ("GET", "/tokens"): tokens,
    ("POST", "/tokens"): create_token,
    ("POST", "/tokens/{name}/revoke"): revoke_token,
}
