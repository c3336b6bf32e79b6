"""Who is signed in at the page: a token, a link or a Nostr key becomes a session."""

from secrets import token_urlsafe

from nwc_service.admin.access import Door, Principal, hash_of, owner, principal_of, user_of
from nwc_service.answers import Clock
from nwc_service.store import ledger, sessions, tokens
from nwc_service.store.database import Database, Tx
from nwc_service.store.sessions import Session
from nwc_service.wallet.units import AccountId

LINK_LASTS_S = 600
USERS_LINK_LASTS_S = 3 * 86_400
"""It is sent to somebody, who may not look at once."""
SESSION_LASTS_S = 12 * 3600


class Sessions:
    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def link(self, principal: Principal) -> tuple[str, int]:
        """A secret that signs this one in, once, and until when."""
        lasts_s = LINK_LASTS_S if principal.account_id is None else USERS_LINK_LASTS_S
        secret, link = self._made(
            principal.token_id, principal.account_id, lasts_s=lasts_s, is_link=True
        )
        await self._db.write(lambda tx: sessions.insert(tx, link))
        return secret, link.expires_at

    async def begin(self, secret: str, door: Door) -> str | None:
        """The secret of a new session for who has a token or a link; None for nobody."""
        principal = await door.principal(secret) if secret else None

        async def work(tx: Tx) -> str | None:
            if principal is not None:
                return await self._begin(tx, principal.token_id, None)
            link = await sessions.use_link(tx, hash_of(secret), now=self._clock())
            return await self._begin(tx, link.token_id, link.account_id) if link else None

        return await self._db.write(work)

    async def begin_with_key(self, nostr_pubkey: str) -> str | None:
        """As `begin`, for the account whose user has proven this key."""

        async def work(tx: Tx) -> str | None:
            account = await ledger.account_of_nostr(tx, nostr_pubkey)
            return await self._begin(tx, None, account.account_id) if account else None

        return await self._db.write(work)

    async def principal(self, secret: str) -> Principal | None:
        """Who has the session with this secret."""

        async def work(tx: Tx) -> Principal | None:
            found = await sessions.session(tx, hash_of(secret), now=self._clock())
            if found is None:
                return None
            if found.account_id is not None:
                account = await ledger.account(tx, found.account_id)
                return user_of(account) if account else None
            if found.token_id is None:
                return owner()
            token = await tokens.token(tx, found.token_id)
            return principal_of(token) if token else None

        return await self._db.read(work)

    async def end(self, secret: str) -> None:
        await self._db.write(lambda tx: sessions.end(tx, hash_of(secret)))

    async def _begin(self, tx: Tx, token_id: str | None, account_id: AccountId | None) -> str:
        secret, session = self._made(token_id, account_id, lasts_s=SESSION_LASTS_S)
        await sessions.insert(tx, session)
        return secret

    def _made(
        self,
        token_id: str | None,
        account_id: AccountId | None,
        *,
        lasts_s: int,
        is_link: bool = False,
    ) -> tuple[str, Session]:
        secret, now = token_urlsafe(32), self._clock()
        return secret, Session(
            hash_of(secret), token_id, account_id, now, now + lasts_s, is_link
        )
