"""What a check is, and the words that several of them use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """`sql` selects what is wrong; `text` tells it, in the names of its columns.

    The statement may use `:now` and `:required_percent`.
    """

    text: str
    sql: str

    @property
    def number(self) -> str:
        """Of the invariant."""
        return self.text.partition(":")[0]


OPEN = "payment.state IN ('RESERVED', 'DISPATCHED', 'UNKNOWN')"
# In the words of the partial index: without them every payment would be read for each row.
STANDING = "payment.state <> 'RELEASED'"
