"""What an operator is told of the connection to LNbits, each fact on its own."""

import time
from collections.abc import Sequence

from backends.lnbits.api import LnbitsApi
from backends.lnbits.options import Options
from backends.lnbits.wallet import LnbitsWallet
from nwc_service.backend import BackendUnavailable, Balance, Finding, findings
from nwc_service.wallet.units import MSAT_PER_SAT, Msat

EXAMPLE_SAT = 100_000


async def checkup(name: str, options: Options) -> Sequence[Finding]:
    """On connections of its own. LNbits tells neither its version nor its network to a key."""
    api = LnbitsApi(name, options)
    api.open()
    try:
        return await _of_wallet(LnbitsWallet(api), options)
    finally:
        await api.close()


async def _of_wallet(wallet: LnbitsWallet, options: Options) -> Sequence[Finding]:
    try:
        told = list(findings.of_clock(await wallet.date(), now=time.time()))
    except BackendUnavailable as gone:
        return [findings.of_problem("connection", gone)]
    try:
        identity = Finding("identity", f"wallet {(await wallet.check_keys()).name}")
    except BackendUnavailable as wrong:
        return [*told, findings.of_problem("keys", wrong)]
    keys = Finding("keys", "of one wallet, each of its own kind")

    async def balance() -> Balance:
        return Balance(spendable_msat=Msat(max(0, await wallet.balance_msat())))

    return [identity, keys, *told, _cap(options), await findings.of_balance(balance)]


def _cap(options: Options) -> Finding:
    fee_msat = options.fee_cap.msat(Msat(EXAMPLE_SAT * MSAT_PER_SAT))
    says = f"{fee_msat} msat are held beside a payment of {EXAMPLE_SAT} sat"
    return Finding("fee_cap", says)
