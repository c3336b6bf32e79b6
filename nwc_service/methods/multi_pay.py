"""What multi_pay_invoice and multi_pay_keysend share: several payments, each with its answer.

All items are claimed together before the first is looked at, so that each is paid once at most
and answered once, whatever comes between. NIP-47 has dropped both; Alby's clients speak them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import structlog
from pydantic import Field

from nwc_service.answers import Caller
from nwc_service.failpoint import failpoint
from nwc_service.methods.method import Context, Params, validated
from nwc_service.store import requests
from nwc_service.store.database import Tx
from nwc_service.store.requests import AlreadyClaimed, Claim
from nwc_service.wallet.errors import RequestError

log = structlog.get_logger()

MAX_ITEMS = 50
MAX_ID_BYTES = 1024
"""strfry takes no longer tag value."""

Items = Annotated[list[dict[str, object]], Field(min_length=1, max_length=MAX_ITEMS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`item` is one item's parameters, `pay` what the single method does with them; `d_tag`
    names an item that has no id."""

    item: type[Params]
    pay: Callable[[Context, Any], Awaitable[None]]
    d_tag: Callable[[Mapping[str, object]], str]


async def pay_each(
    context: Context, items: Sequence[Mapping[str, object]], *, kind: Kind
) -> None:
    """Raises AlreadyClaimed, and RequestError when not even the first was claimed."""
    caller = context.caller
    claims = [
        _claim_of(caller.claim, number, item=item, kind=kind)
        for number, item in enumerate(items)
    ]

    async def claim_all(tx: Tx) -> None:
        for claim in claims:
            await requests.claim(tx, claim, now=context.wallet.clock())

    await context.wallet.db.write(claim_all)
    failpoint("after_claim_all")
    for claim, item in zip(claims, items, strict=True):
        own = replace(context, caller=Caller(caller.connection, replace(claim, is_taken=True)))
        await _pay_one(own, item, kind=kind)


async def _pay_one(context: Context, item: Mapping[str, object], *, kind: Kind) -> None:
    """One item's trouble is its own answer."""
    try:
        await kind.pay(context, validated(kind.item, item))
    except RequestError as error:
        await context.refuse(context.caller, error)
    except AlreadyClaimed:
        return
    except Exception:
        # As in the dispatcher: nothing true can be said, and the others are not to wait. What
        # was not begun is refused by `recover`.
        log.exception("request.item_failed", connection_id=context.caller.claim.connection_id)


def _claim_of(claim: Claim, number: int, *, item: Mapping[str, object], kind: Kind) -> Claim:
    """The first item has the event's own id, so that a refusal of the whole event meets it."""
    d_tag = _own_name(item) or kind.d_tag(item)
    request_id = f"{claim.request_id}:{number}" if number else claim.request_id
    return replace(claim, request_id=request_id, d_tag=d_tag)


def _own_name(item: Mapping[str, object]) -> str | None:
    """Its id, where it can stand in a tag."""
    name = item.get("id")
    # What is printable can be encoded: half a surrogate pair is not.
    if not isinstance(name, str) or not name.isprintable():
        return None
    return name if len(name.encode()) <= MAX_ID_BYTES else None
