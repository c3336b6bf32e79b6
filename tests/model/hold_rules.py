"""How hold invoices are kept, and the variants that lose or make money."""

from dataclasses import dataclass

from nwc_service.wallet.hold import MARGIN_BLOCKS
from tests.model.search import STUCK

MADE = "credited more than was paid"
TWO_DECISIONS = "decided twice"
CONTRARY = "the node did the opposite of what was decided"
CHARGED_AND_BACK = "charged and given back"
HELD_FOR_NOBODY = "held inside for no invoice"
UNSETTLED = "to be settled in time, and given back"
NODE_HAD_TO = "the node had to give it back"
UNDECIDED = "given back inside, undecided"
ENDED_EARLY = "over, and held by the node"

BEHIND_AT_MOST = MARGIN_BLOCKS - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRule:
    """What is said of the world comes first, the rest is what the service does in it."""

    name: str
    words: str
    expected: str | None = None  # None: safe
    is_timely: bool = False  # a block takes long enough for all that there is to do
    is_lax: bool = False  # the node does not cancel what nobody has paid
    has_hand: bool = False  # somebody settles it at the node, past the service
    redelivers: bool = False  # what the node once said is heard at any time, and again
    blocks_behind: int = 0  # what the service knows of the height
    decides_at_once: bool = True  # in the transaction that reads the invoice
    is_conditional: bool = True  # a decision is stored only where there was none
    tells_early: bool = False  # the node, before the decision is durable
    tells_again: bool = True  # the node what was decided, until it is final
    credits_held: bool = False  # what the node only holds
    has_unique_receipts: bool = True
    accepts_second: bool = False  # from outside, what is held inside
    refuses_second: bool = True  # what the node holds of what was paid inside goes back
    checks_payer: bool = True  # a payment inside is given back only while it is held
    ends_overdue: bool = True
    believes_cancel: bool = False  # the node's, of what is held inside
    expires_late: bool = False  # by the clock when the answer is read, not when asked


HOLD_RULES = (
    HoldRule(
        name="hold",
        words="decided once and durably, then told, then booked by the node's word",
        is_lax=True,
        has_hand=True,
        redelivers=True,
    ),
    HoldRule(
        name="hold-time",
        words="hold where the service keeps up with the blocks but for five",
        is_timely=True,
        blocks_behind=BEHIND_AT_MOST,
    ),
    HoldRule(
        name="hold-lax",
        words="hold-time where the node cancels only what it holds",
        is_timely=True,
        is_lax=True,
        redelivers=True,
    ),
    HoldRule(
        name="hold-held",
        words="credited as soon as the node holds it",
        expected=MADE,
        credits_held=True,
    ),
    HoldRule(
        name="hold-key",
        words="a credit without its unique key",
        expected=MADE,
        redelivers=True,
        has_unique_receipts=False,
    ),
    HoldRule(
        name="hold-tell",
        words="the node is told before the decision is durable",
        expected=CONTRARY,
        decides_at_once=False,
        tells_early=True,
    ),
    HoldRule(
        name="hold-read",
        words="decided by what was read before, whatever was decided since",
        expected=TWO_DECISIONS,
        decides_at_once=False,
        is_conditional=False,
    ),
    HoldRule(
        name="hold-late",
        words="the deadline decides by what it read before, likewise",
        expected=TWO_DECISIONS,
        is_conditional=False,
    ),
    HoldRule(
        name="hold-back",
        words="hold-late where what was settled inside is given back",
        expected=CHARGED_AND_BACK,
        is_conditional=False,
        checks_payer=False,
    ),
    HoldRule(
        name="hold-once",
        words="the node is told what was decided, and not again",
        expected=UNSETTLED,
        is_timely=True,
        tells_again=False,
    ),
    HoldRule(
        name="hold-both",
        words="a payment from outside takes the place of the one inside",
        expected=HELD_FOR_NOBODY,
        accepts_second=True,
    ),
    HoldRule(
        name="hold-again",
        words="hold-lax where what the node holds all the same stays there",
        expected=NODE_HAD_TO,
        is_timely=True,
        is_lax=True,
        redelivers=True,
        refuses_second=False,
    ),
    HoldRule(
        name="hold-behind",
        words="hold-time where it is six blocks behind, all of its margin",
        expected=NODE_HAD_TO,
        is_timely=True,
        blocks_behind=BEHIND_AT_MOST + 1,
    ),
    HoldRule(
        name="hold-owner",
        words="nobody but its owner ends it",
        expected=STUCK,
        is_timely=True,
        ends_overdue=False,
    ),
    HoldRule(
        name="hold-word",
        words="the node's cancel ends what is held inside",
        expected=UNDECIDED,
        believes_cancel=True,
    ),
    HoldRule(
        name="hold-expiry",
        words="expired by the clock when the node's answer is read, not when asked",
        expected=ENDED_EARLY,
        expires_late=True,
    ),
)
