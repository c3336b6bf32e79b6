"""Streams of type, length and value (BOLT1), read and written in their only canonical form."""

from collections.abc import Iterable
from dataclasses import dataclass

_FIRST_OF_SIZE = {2: 0xFD, 4: 0x1_0000, 8: 0x1_0000_0000}
_SIZE_OF_MARK = {0xFD: 2, 0xFE: 4, 0xFF: 8}


class InvalidTlv(ValueError):
    """Not a TLV stream. The message is safe to show."""


@dataclass(frozen=True, slots=True)
class Record:
    type: int
    value: bytes
    encoded: bytes
    encoded_type: bytes


def read_tlv(data: bytes) -> list[Record]:
    """BOLT1: "`type`s MUST appear in strictly-increasing order". Raises InvalidTlv."""
    records: list[Record] = []
    position = 0
    while position < len(data):
        type_, after_type = _read_bigsize(data, position)
        length, start = _read_bigsize(data, after_type)
        end = start + length
        if end > len(data):
            raise InvalidTlv("a field is longer than the stream")
        if records and type_ <= records[-1].type:
            raise InvalidTlv("the fields are not in order")
        records.append(
            Record(type_, data[start:end], data[position:end], data[position:after_type])
        )
        position = end
    return records


def write_tlv(fields: Iterable[tuple[int, bytes]]) -> bytes:
    """The fields come in order."""
    return b"".join(bigsize(type_) + bigsize(len(value)) + value for type_, value in fields)


def bigsize(value: int) -> bytes:
    for mark, size in reversed(_SIZE_OF_MARK.items()):
        if value >= _FIRST_OF_SIZE[size]:
            return bytes([mark]) + value.to_bytes(size, "big")
    return bytes([value])


def truncated_int(value: bytes) -> int:
    """BOLT1's tu64. Raises InvalidTlv for leading zeros and for more than 64 bits."""
    if len(value) > 8 or value[:1] == b"\0":
        raise InvalidTlv("a number is not written in its shortest form")
    return int.from_bytes(value, "big")


def _read_bigsize(data: bytes, position: int) -> tuple[int, int]:
    """The number, and where it ends; "MUST be minimally encoded"."""
    mark = data[position : position + 1]
    size = _SIZE_OF_MARK.get(mark[0], 0) if mark else 0
    end = position + 1 + size
    if not mark or end > len(data):
        raise InvalidTlv("the stream is cut off")
    if size == 0:
        return mark[0], end
    value = int.from_bytes(data[position + 1 : end], "big")
    if value < _FIRST_OF_SIZE[size]:
        raise InvalidTlv("a number is not written in its shortest form")
    return value, end
