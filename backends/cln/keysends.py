"""Keysends with a preimage of ours.

`keysend` and `xkeysend` make the preimage themselves, so a lost reply would leave a payment
that nobody can name. So CLN is asked for a route and an onion, and for one part along it: the
hash is known before, and `listsendpays` tells of that part like of any other.
"""

from dataclasses import asdict, dataclass

from backends._checks import hash_of
from backends._http import see_log
from backends.cln import onion
from backends.cln.api import PROGRAM, ClnApi, NotReached, Reply
from backends.cln.node import ClnNode
from backends.cln.wire import Injected, Onion, Route, Routes
from nwc_service.backend import BackendUnavailable, KeysendRequest
from nwc_service.wallet import keysend
from nwc_service.wallet.units import Msat

FINAL_CLTV = (
    42  # LND wants no less than 19 of a keysend, others 18; some blocks may come meanwhile
)
MAX_CLTV = 2016
ONLY_PART, ONLY_GROUP = 1, 1
NO_FEE = Msat(0)
# Our channels as they are now, and no fee for using them ourselves.
LAYERS = ("auto.localchans", "auto.sourcefree")


@dataclass(frozen=True, slots=True)
class Answer:
    """A preimage, not yet proven, or an error in the reply."""

    reply: Reply
    preimage: str | None = None
    fee_msat: Msat = NO_FEE


class ClnKeysends:
    def __init__(self, api: ClnApi, node: ClnNode) -> None:
        self._api = api
        self._node = node

    async def send(self, request: KeysendRequest) -> Answer:
        """What CLN answers at the end. Raises NotReached where it surely was not sent, and
        NoReply where it may have been."""
        try:
            found = await self._api.call("getroutes", self._query(request), operation="pay")
            routes = found.read(Routes)
            if routes is None and found.problem is not None:
                return Answer(found)
            route = self._checked(routes, request)
            inject = await self._injection(request, route)
        except BackendUnavailable as gone:
            raise NotReached(gone.problem, remedy=gone.remedy) from None
        reply = await self._api.long_call(
            "injectpaymentonion", inject, operation="pay", timeout_s=None
        )
        done = reply.read(Injected)
        fee_msat = Msat(route.path[0].amount_msat - request.amount_msat)
        return Answer(reply, done.payment_preimage if done else None, fee_msat)

    def _query(self, request: KeysendRequest) -> dict[str, object]:
        return {
            "source": self._node.pubkey,
            "destination": request.destination,
            "amount_msat": request.amount_msat,
            "layers": list(LAYERS),
            "maxfee_msat": request.max_fee_msat,
            "final_cltv": FINAL_CLTV,
            "maxparts": 1,
        }

    def _checked(self, routes: Routes | None, request: KeysendRequest) -> Route:
        """What the onion says is ours to answer for. Raises NoReply."""
        found = routes.routes if routes else ()
        if len(found) == 1 and _is_asked_for(found[0], request):
            return found[0]
        what = "CLN's route is not the one that was asked for"
        raise self._api.problem("pay", what, remedy=see_log(PROGRAM))

    async def _injection(self, request: KeysendRequest, route: Route) -> dict[str, object]:
        """Raises BackendUnavailable."""
        payment_hash = hash_of(request)
        # one more than now, as CLN itself does, since a block may come
        height = await self._node.height(operation="pay") + 1
        records = {**request.tlvs, keysend.PREIMAGE_TLV: bytes.fromhex(request.preimage)}
        hops = onion.hops(route, source=self._node.pubkey, height=height, last_records=records)
        params = {"hops": [asdict(hop) for hop in hops], "assocdata": payment_hash}
        made = await self._api.ask(Onion, "createonion", params=params, operation="pay")
        first = route.path[0]
        return {
            "onion": made.onion,
            "payment_hash": payment_hash,
            "amount_msat": first.amount_msat,
            "cltv_expiry": first.cltv + height,
            "partid": ONLY_PART,
            "groupid": ONLY_GROUP,
            "label": request.our_id,
            "destination_msat": request.amount_msat,
        }


def _is_asked_for(route: Route, request: KeysendRequest) -> bool:
    if not route.path or (route.amount_msat, route.final_cltv) != (
        request.amount_msat,
        FINAL_CLTV,
    ):
        return False
    first, last = route.path[0], route.path[-1]
    fee_msat = first.amount_msat - request.amount_msat
    is_fair = 0 <= fee_msat <= request.max_fee_msat and FINAL_CLTV <= first.cltv <= MAX_CLTV
    return is_fair and last.node == request.destination
