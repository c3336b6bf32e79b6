"""Who is signed in at the page: a token, or a link that one of them made, becomes a session."""

from secrets import token_urlsafe

from nwc_service.admin.access import Door, Principal, hash_of, owner, principal_of
from nwc_service.answers import Clock
from nwc_service.store import sessions, tokens
from nwc_service.store.database import Database, Tx
from nwc_service.store.sessions import Session

LINK_LASTS_S = 600
SESSION_LASTS_S = 12 * 3600


class Sessions:
    def __init__(self, db: Database, *, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def link(self, principal: Principal) -> str:
        """A secret that signs this one in, once and soon."""
        secret, link = self._made(principal.token_id, lasts_s=LINK_LASTS_S, is_link=True)
        await self._db.write(lambda tx: sessions.insert(tx, link))
        return secret

    async def begin(self, secret: str, door: Door) -> str | None:
        """The secret of a new session for who has a token or a link; None for nobody."""
        principal = await door.principal(secret) if secret else None

        async def work(tx: Tx) -> str | None:
            token_id = principal.token_id if principal else None
            if principal is None:
                link = await sessions.use_link(tx, hash_of(secret), now=self._clock())
                if link is None:
                    return None
                token_id = link.token_id
            made, session = self._made(token_id, lasts_s=SESSION_LASTS_S)
            await sessions.insert(tx, session)
            return made

        return await self._db.write(work)

    async def principal(self, secret: str) -> Principal | None:
        """Who has the session with this secret."""

        async def work(tx: Tx) -> Principal | None:
            found = await sessions.session(tx, hash_of(secret), now=self._clock())
            if found is None:
                return None
            if found.token_id is None:
                return owner()
            token = await tokens.token(tx, found.token_id)
            return principal_of(token) if token else None

        return await self._db.read(work)

    async def end(self, secret: str) -> None:
        await self._db.write(lambda tx: sessions.end(tx, hash_of(secret)))

    def _made(
        self, token_id: str | None, *, lasts_s: int, is_link: bool = False
    ) -> tuple[str, Session]:
        secret, now = token_urlsafe(32), self._clock()
        return secret, Session(hash_of(secret), token_id, now, now + lasts_s, is_link)
