"""Ring vectors as the slots of plaintexts, and sums of them back.

BFV: a slot holds `per_slot` signed integers as the digits of one, in base 2^b; what carries over from the
sum of one digit is taken out again, so that digits do not mix. CKKS: a slot is complex and holds two.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secagg.encoding.ring import centred, word
from secagg.errors import EncodingError
from secagg.homomorphic.scheme import Scheme
from secagg.prg import Ring

__all__ = ["from_slots", "to_slots"]

Slots = npt.NDArray[np.int64] | npt.NDArray[np.complex128]


def to_slots(vector: Ring, scheme: Scheme) -> Slots:
    """Slots of one block: at most `scheme.block` ring elements, the rest zeros. int64 (BFV) or complex128."""
    integers = np.zeros(scheme.block, dtype=np.int64)
    integers[: len(vector)] = centred(vector, scheme.bits)
    if scheme.kind == "ckks":
        return integers.astype(np.float64).view(np.complex128)
    digits = integers.reshape(scheme.per_slot, scheme.slots)
    slots: npt.NDArray[np.int64] = digits[-1].copy()
    for digit in digits[-2::-1]:
        slots = (slots << np.int64(scheme.bits)) + digit
    return slots


def from_slots(slots: Slots, scheme: Scheme) -> Ring:
    """The ring elements of one block's sum, exact.

    Raises EncodingError `sum-inexact` where a part of a CKKS slot is a quarter or more away from an integer,
    and `sum-out-of-range` where an integer is not one that a sum in this ring can be.
    """
    integers = _rounded(slots) if scheme.kind == "ckks" else _digits(slots.astype(np.int64), scheme)
    half = 1 << (scheme.bits - 1)
    if int(integers.min()) < -half or int(integers.max()) >= half:
        raise EncodingError(
            "sum-out-of-range",
            f"a sum is outside of the {scheme.bits} bits of the ring: no honest vectors add up to it",
        )
    return (integers.view(np.uint64) & np.uint64((1 << scheme.bits) - 1)).astype(word(scheme.bits))


def _rounded(slots: Slots) -> npt.NDArray[np.int64]:
    parts = slots.astype(np.complex128).view(np.float64)
    integers = np.rint(parts)
    if not np.all(np.abs(parts - integers) < 0.25):
        raise EncodingError(
            "sum-inexact",
            "a decrypted value is a quarter or more away from an integer: nothing is exact then",
        )
    if not np.all(np.abs(integers) < 2.0**62):
        raise EncodingError("sum-out-of-range", "a decrypted value is too large for any ring")
    return integers.astype(np.int64)


def _digits(slots: npt.NDArray[np.int64], scheme: Scheme) -> npt.NDArray[np.int64]:
    out = np.empty((scheme.per_slot, scheme.slots), dtype=np.int64)
    shift = np.int64(64 - scheme.bits)
    for at in range(scheme.per_slot - 1):
        out[at] = (slots << shift) >> shift
        slots = (slots - out[at]) >> np.int64(scheme.bits)
    out[-1] = slots
    return out.reshape(-1)
