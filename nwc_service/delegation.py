"""A connection makes another one (create_connection): one transaction, with its answer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from secrets import token_hex

from nwc_service import limits
from nwc_service.accounts import new_account
from nwc_service.answers import Answers, Caller, Clock
from nwc_service.connections import Announce
from nwc_service.directory import Directory
from nwc_service.failpoint import failpoint
from nwc_service.keyring import Keyring
from nwc_service.nip47.connection import Connection
from nwc_service.nip47.delegation import Grant, Identity, child
from nwc_service.nip47.envelope import result_payload
from nwc_service.outbox import Outbox
from nwc_service.store import connections, ledger, requests
from nwc_service.store.database import Database, Tx
from nwc_service.store.outbox import Outgoing
from nwc_service.wallet.errors import ErrorCode, RequestError
from nwc_service.wallet.units import AccountId, ConnectionId


class Delegation:
    """`methods` are those that a connection may call and the backend can do; `max_children`
    is how many connections one may have made that the operator has not revoked."""

    def __init__(
        self,
        db: Database,
        *,
        directory: Directory,
        keyring: Keyring,
        answers: Answers,
        outbox: Outbox,
        methods: Callable[[Connection], Sequence[str]],
        announce: Announce,
        max_children: int,
        clock: Clock,
    ) -> None:
        self._db = db
        self._directory = directory
        self._keyring = keyring
        self._answers = answers
        self._outbox = outbox
        self._methods = methods
        self._announce = announce
        self._max_children = max_children
        self._clock = clock

    async def grant(self, caller: Caller, grant: Grant) -> None:
        """Raises RequestError, with nothing changed, and AlreadyClaimed.

        The info event goes first: an app asks for it as soon as it has the answer.
        """
        made = self._child(caller, grant)
        outgoing = await self._db.write(
            lambda tx: self._store(tx, caller, made=made, is_isolated=grant.is_isolated)
        )
        failpoint("after_create_connection")
        self._directory.put(made)
        await self._announce(made)
        self._outbox.push(outgoing)

    def _child(self, caller: Caller, grant: Grant) -> Connection:
        """Raises RequestError."""
        parent = caller.connection
        connection_id = ConnectionId(token_hex(16))
        identity = Identity(
            connection_id=connection_id,
            wallet_pubkey=self._keyring.wallet_pubkey(connection_id),
            account_id=AccountId(token_hex(16)) if grant.is_isolated else parent.account_id,
            request_id=caller.claim.request_id,
            created_at=self._clock(),
        )
        return child(parent, grant, identity=identity, supported=self._methods(parent))

    async def _store(
        self, tx: Tx, caller: Caller, *, made: Connection, is_isolated: bool
    ) -> list[Outgoing]:
        parent, now = caller.connection, self._clock()
        await requests.claim(tx, caller.claim, now=now)
        await limits.must_be_served(tx, parent, now=now)
        if await connections.child_count(tx, parent.connection_id) >= self._max_children:
            raise RequestError(ErrorCode.RATE_LIMITED, "too many connections made by this one")
        if is_isolated:
            account = new_account(f"app-{token_hex(8)}", backend=parent.backend, now=now)
            await ledger.create_account(tx, replace(account, account_id=made.account_id))
        await connections.insert(tx, made)
        failpoint("in_create_connection")
        payload = result_payload(caller.claim.method, {"wallet_pubkey": made.wallet_pubkey})
        return await self._answers.store(tx, parent, claim=caller.claim, payload=payload)
