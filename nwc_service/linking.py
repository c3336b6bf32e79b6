"""Connections that an app asks for with a link, and the operator grants or declines.

`nostr+walletauth://` in its two forms (the older one, and NWC-08) and the deep links of NWC-07.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from nwc_service.accounts import Accounts
from nwc_service.connections import Connections, Created, Origin
from nwc_service.nip47 import deeplink, walletauth
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.deeplink import DeepLink
from nwc_service.nip47.kinds import NotificationType
from nwc_service.nip47.link import InvalidLink
from nwc_service.nip47.walletauth import WalletAuth
from nwc_service.outbound import ForbiddenAddress, Outbound
from nwc_service.relays import Relays
from nwc_service.wallet.errors import Refused
from nwc_service.wishes import MAX_APP_CHARACTERS, ExpiresInS, Wish

NAMELESS = "an app without a name"


class Consent(BaseModel):
    """What the operator adds to what the link asks for; None where the link says it all.

    `optional_methods`: grant what the app can do without, too. `scopes` are for links that
    name no methods, `budget_msat` for those that name no budget. Of `expires_in_s` and the end
    that the link names the earlier counts.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    account: str
    optional_methods: bool = False
    scopes: str | None = None
    budget_msat: int | None = None
    budget_renewal: str | None = None
    max_payment_msat: int | None = None
    expires_in_s: ExpiresInS | None = None
    encryption: str | None = None
    internal_only: bool = False
    destinations: list[str] = Field(default_factory=list)
    lud16: str | None = None


@dataclass(frozen=True, slots=True)
class Linked:
    """`opened` is what brings the user back to the app, if it named anything; after a deep link
    it holds the connection's URI with its secret."""

    connection: Connection
    opened: str | None = field(repr=False)


class Linking:
    """`supported` are the methods that this service and its backend have."""

    def __init__(
        self,
        connections: Connections,
        *,
        accounts: Accounts,
        relays: Relays,
        supported: Sequence[str],
        outbound: Outbound,
    ) -> None:
        self._connections = connections
        self._accounts = accounts
        self._relays = relays
        self._supported = frozenset(supported)
        self._outbound = outbound

    def read(self, link: str) -> WalletAuth | DeepLink:
        """What a link asks for. Raises Refused; nothing is done."""
        is_deep = link.lower().startswith("nostrnwc")
        try:
            return deeplink.parse(link) if is_deep else walletauth.parse(link)
        except InvalidLink as error:
            raise Refused(f"link: {error}") from error

    def unsupported(self, asked: WalletAuth) -> list[str]:
        """The methods that the app requires and cannot have."""
        return [name for name in asked.request_methods if name not in self._supported]

    async def accept(self, link: str, consent: Consent) -> Linked:
        """Raises Refused and NotFound, with nothing changed."""
        asked = self.read(link)
        if isinstance(asked, DeepLink):
            return await self._pair(asked, consent)
        return await self._authorise(asked, consent)

    async def _pair(self, asked: DeepLink, consent: Consent) -> Linked:
        """NWC-07: "it should be returned to the client by opening the callback"."""
        if consent.scopes is None:
            raise Refused("this link names no methods: say which the app may use (scopes)")
        created = await self._connections.create(_wish(consent, name=asked.appname))
        return Linked(created.connection, asked.answer(created.uri or ""))

    async def _authorise(self, asked: WalletAuth, consent: Consent) -> Linked:
        methods = self._methods(asked, consent)
        wish = _wish(consent, name=asked.name).model_copy(
            update={
                "client_pubkey": asked.client_pubkey,
                "notifications": ",".join(_notifications(asked)),
                "relays": list(asked.relays),
                "metadata": dict(asked.metadata) if asked.metadata else None,
            }
            | _budget(asked, consent)
        )
        if self._connections.serves(asked.client_pubkey):
            raise Refused("the app has a connection with the key of this link already")
        await self._check_relays(asked.relays)
        if asked.isolated:
            await self._check_isolated(consent.account)
        origin = Origin(asked.state, methods, asked.expires_at)
        created = await self._connections.create(wish, origin=origin)
        return Linked(created.connection, self._return_to(asked, created))

    def _methods(self, asked: WalletAuth, consent: Consent) -> frozenset[str] | None:
        """All that the app requires, or Refused: a part of it would look like a connection
        that works. Never a method that it did not ask for. None: the operator chooses."""
        missing = self.unsupported(asked)
        if missing:
            raise Refused(
                f"the app requires what this wallet does not have: {_listed(missing)}"
            )
        granted = frozenset(asked.request_methods)
        if consent.optional_methods:
            granted |= self._supported.intersection(asked.optional_request_methods)
        if granted and consent.scopes is not None:
            raise Refused("scopes: this link names the methods itself")
        if granted:
            return granted
        # NWC-08: "MUST NOT grant request methods [...] the client did not request." Before it,
        # a link without methods left them to the wallet.
        if asked.state is not None or consent.scopes is None:
            raise Refused("this link asks for no methods: there is nothing to grant")
        return None

    async def _check_relays(self, relays: Sequence[str]) -> None:
        """Before anything is stored. A relay that is only out of reach may come back; what it
        resolves to is looked at again at each connect."""
        for url in relays:
            if self._relays.is_own(url):
                continue
            try:
                await self._outbound.addresses(url)
            except (ForbiddenAddress, ValueError) as error:
                raise Refused(f"relay {url}: {error}") from error
            except OSError:
                continue

    async def _check_isolated(self, account: str) -> None:
        """NWC-08: "with its own balance and only access to its own transaction list"."""
        found = await self._accounts.named(account)
        if await self._connections.any_live(found.account_id):
            raise Refused(
                f"the app wants an account to itself, and {account!r} has connections already"
            )

    def _return_to(self, asked: WalletAuth, created: Created) -> str | None:
        """NWC-08: "SHOULD open the `return_to` URI with the `relay_url`, `wallet_pubkey`,
        `state` and optional `lud16` query parameters added"."""
        if asked.return_to is None:
            return None
        connection = created.connection
        added = {
            "relay_url": next(iter(self._relays.advertised(connection)), None),
            "wallet_pubkey": connection.wallet_pubkey,
            "state": asked.state,
            "lud16": connection.lud16,
        }
        query = "&".join(
            f"{name}={quote(value, safe='')}" for name, value in added.items() if value
        )
        target, hash_sign, fragment = asked.return_to.partition("#")
        return f"{target}{'&' if '?' in target else '?'}{query}{hash_sign}{fragment}"


def _wish(consent: Consent, *, name: str | None) -> Wish:
    return Wish(
        account=consent.account,
        app=(name or "").strip()[:MAX_APP_CHARACTERS] or NAMELESS,
        scopes=consent.scopes or "",
        budget_msat=consent.budget_msat,
        budget_renewal=consent.budget_renewal,
        max_payment_msat=consent.max_payment_msat,
        expires_in_s=consent.expires_in_s,
        encryption=consent.encryption,
        internal_only=consent.internal_only,
        destinations=consent.destinations,
        lud16=consent.lud16,
    )


def _notifications(asked: WalletAuth) -> list[str]:
    """None that the app did not ask for; those that nobody sends are left out."""
    known = set(NotificationType)
    return [name for name in asked.notification_types if name in known]


def _budget(asked: WalletAuth, consent: Consent) -> dict[str, object]:
    if asked.max_amount_msat is None:
        return {}
    if consent.budget_msat is not None or consent.budget_renewal is not None:
        raise Refused("budget_msat: this link names the budget itself")
    return {"budget_msat": asked.max_amount_msat, "budget_renewal": asked.renewal}


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words)
