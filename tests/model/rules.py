"""The protocol, and the variants of it that lose money.

The variants differ only in what is done around the functions of `wallet/payment.py`.
"""

from dataclasses import dataclass
from enum import Enum, auto

from nwc_service.wallet.payment import PaymentKind
from tests.model.search import STUCK

RELEASED_AND_PAID = "released AND paid"
PAID_TWICE = "paid twice"

EPOCHS = 4
SENDS = 3
"""How often a rule that may send again does so at most: the bounds of the search."""


class NotFound(Enum):
    """What follows when the node of a dispatched payment knows nothing of it."""

    HOLD = auto()
    RELEASE = auto()
    RESEND = auto()
    OTHER_NODE = auto()
    RULE_H = auto()  # release, once the invoice is expired for good
    RULE_J = auto()  # release or send once, where it was sent in an older, fenced epoch


class Operator(Enum):
    """What he goes by who says what became of a payment (`payment resolve`)."""

    NOBODY = auto()
    THE_TRUTH = auto()  # that nothing is sending it, on its way or at the node, or its preimage
    NOT_SENDING = auto()  # the same, but of the network and the node alone
    NOT_FOUND = auto()  # that the node knows nothing of it
    IN_FLIGHT = auto()  # nothing: what the node has under way he gives back


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    name: str
    words: str
    expected: str | None  # None: safe
    not_found: NotFound
    replicas: int = 2
    payments: int = 1  # of the one invoice, one after the other was released
    is_durable: bool = True  # the reservation is
    releases_unknown: bool = False
    has_leases: bool = False  # one replica acts at a time, in an epoch of its own
    revokes: bool = False  # a takeover revokes the credentials of older epochs at the nodes
    waits: bool = True  # after that, for calls that were authorised before
    checks_epoch: bool = True  # the database refuses writes of older epochs
    judges_late: bool = False  # rule H by the clock when the answer is read, not when asked
    looks_up_by_hash: bool = False  # a lookup tells of any payment of the hash
    kind: PaymentKind = PaymentKind.BOLT11  # no other expires at its node
    dates_all: bool = False  # the time after which it is not sent is taken for an expiry
    operator: Operator = Operator.NOBODY

    @property
    def expires(self) -> bool:
        """Its node refuses it once it has expired."""
        return self.kind is PaymentKind.BOLT11

    @property
    def sends(self) -> int:
        """How often a payment is sent at most: in each epoch under rule J, else in all."""
        may_repeat = self.not_found in (NotFound.RESEND, NotFound.OTHER_NODE)
        return SENDS if may_repeat else 1


RULES = (
    Rule(
        name="A",
        words="no durable reservation",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.HOLD,
        replicas=1,
        is_durable=False,
    ),
    Rule(
        name="B",
        words="release on an RPC error or a timeout",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.HOLD,
        releases_unknown=True,
    ),
    Rule(
        name="C",
        words="release on NOT_FOUND",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RELEASE,
    ),
    Rule(
        name="D",
        words="on NOT_FOUND send through another node",
        expected=PAID_TWICE,
        not_found=NotFound.OTHER_NODE,
    ),
    Rule(
        name="E",
        words="lease and database epoch, send again on NOT_FOUND, no fence",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RESEND,
        has_leases=True,
    ),
    Rule(
        name="F",
        words="E with a fence at each change of epoch",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RESEND,
        has_leases=True,
        revokes=True,
    ),
    Rule(
        name="G",
        words="a single replica that sends again on NOT_FOUND",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RESEND,
        replicas=1,
    ),
    Rule(
        name="H",
        words="sent once ever, NOT_FOUND counts only once expired for good",
        expected=None,
        not_found=NotFound.RULE_H,
        payments=2,
    ),
    Rule(
        name="H-three",
        words="H with three replicas",
        expected=None,
        not_found=NotFound.RULE_H,
        replicas=3,
    ),
    Rule(
        name="H-late",
        words="H judged by the clock when NOT_FOUND is read, not when it was asked",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RULE_H,
        judges_late=True,
    ),
    Rule(
        name="H-hash",
        words="H where a lookup tells of an earlier payment of the hash",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RULE_H,
        payments=2,
        looks_up_by_hash=True,
    ),
    Rule(
        name="J",
        words="sent once per epoch, older credentials revoked, epoch checked",
        expected=None,
        not_found=NotFound.RULE_J,
        has_leases=True,
        revokes=True,
    ),
    Rule(
        name="J-wait",
        words="J that looks up at once after it has revoked",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RULE_J,
        has_leases=True,
        revokes=True,
        waits=False,
    ),
    Rule(
        name="K",
        words="J without the fence",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RULE_J,
        has_leases=True,
    ),
    Rule(
        name="L",
        words="J without the epoch check of the database",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RULE_J,
        has_leases=True,
        revokes=True,
        checks_epoch=False,
    ),
    Rule(
        name="keysend",
        words="keysend: held until the node has a final word, or the operator",
        expected=None,
        not_found=NotFound.HOLD,
        kind=PaymentKind.KEYSEND,
        operator=Operator.THE_TRUTH,
        payments=2,
    ),
    Rule(
        name="keysend-H",
        words="keysend: rule H applied to what does not expire",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RULE_H,
        kind=PaymentKind.KEYSEND,
        dates_all=True,
    ),
    Rule(
        name="bolt12",
        words="an offer's invoice: held likewise, for its node may pay it expired",
        expected=None,
        not_found=NotFound.HOLD,
        kind=PaymentKind.BOLT12,
        operator=Operator.THE_TRUTH,
    ),
    Rule(
        name="bolt12-H",
        words="an offer's invoice: rule H by the expiry that it names",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.RULE_H,
        kind=PaymentKind.BOLT12,
    ),
    Rule(
        name="op-nobody",
        words="keysend where no operator ever looks",
        expected=STUCK,
        not_found=NotFound.HOLD,
        kind=PaymentKind.KEYSEND,
    ),
    Rule(
        name="op-flight",
        words="keysend where the operator gives back what the node has in flight",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.HOLD,
        kind=PaymentKind.KEYSEND,
        operator=Operator.IN_FLIGHT,
    ),
    Rule(
        name="op-found",
        words="keysend where the operator takes NOT_FOUND for a proof",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.HOLD,
        kind=PaymentKind.KEYSEND,
        operator=Operator.NOT_FOUND,
    ),
    Rule(
        name="op-sending",
        words="keysend where the operator gives back what is being sent just now",
        expected=RELEASED_AND_PAID,
        not_found=NotFound.HOLD,
        kind=PaymentKind.KEYSEND,
        operator=Operator.NOT_SENDING,
    ),
)
