"""Links with which apps ask for a connection: what they ask, and the operator's word on it."""

from fastapi import APIRouter

from nwc_service.admin.connections import connection_view
from nwc_service.admin.state import Body, State
from nwc_service.linking import Consent, Linked, Linking
from nwc_service.nip47.deeplink import DeepLink
from nwc_service.views import View


class Asking(Body):
    link: str


class Accepting(Consent):
    link: str


def add_routes(api: APIRouter, state: State) -> None:
    @api.post("/links")
    async def show_link(body: Asking) -> View:
        return asked_view(state.linking, body.link)

    @api.post("/links/accept", status_code=201)
    async def accept_link(body: Accepting) -> View:
        consent = Consent.model_validate(body.model_dump(exclude={"link"}))
        return await linked_view(state, await state.linking.accept(body.link, consent))


async def linked_view(state: State, linked: Linked) -> View:
    connection = linked.connection
    shown = await connection_view(state, connection.connection_id)
    return shown | {"opened": linked.opened, "warnings": state.warnings(connection)}


def asked_view(linking: Linking, link: str) -> View:
    """The app's own words, proven by nothing, have names that say so."""
    asked = linking.read(link)
    if isinstance(asked, DeepLink):
        return {
            "kind": "deep_link",
            "unverified_name": asked.appname,
            "unverified_icon": asked.appicon,
            "opens": asked.callback,
        }
    return {
        "kind": "walletauth",
        "unverified_name": asked.name,
        "unverified_icon": asked.icon,
        "opens": asked.return_to,
        "wallet": asked.wallet,
        "client_pubkey": asked.client_pubkey,
        "relays": list(asked.relays),
        "request_methods": list(asked.request_methods),
        "unsupported_methods": linking.unsupported(asked),
        "optional_request_methods": list(asked.optional_request_methods),
        "notification_types": list(asked.notification_types),
        "max_amount_msat": asked.max_amount_msat,
        "renewal": asked.renewal,
        "expires_at": asked.expires_at,
        "isolated": asked.isolated,
        "metadata": dict(asked.metadata) if asked.metadata else None,
    }
