"""Who shares and masks with whom: a Harary graph over a permutation nobody chose.

Bell et al. 2020 (ePrint 2020/704), section 3. Clients stand on a ring in the order of a permutation drawn
from the roster itself, and each is joined to the k / 2 nearest on either side. With k = n - 1 the graph is
complete and the permutation does not matter.
"""

from __future__ import annotations

from secagg.errors import ProtocolError
from secagg.prg import expand

__all__ = ["neighbours", "permutation"]


def permutation(seed: bytes, n: int) -> list[int]:
    """A uniform permutation of range(n): Fisher-Yates with rejection, from the PRG's 64-bit words.

    For i from n - 1 down to 1, the next word below the largest multiple of i + 1 gives j = word mod (i + 1),
    and places i and j change. `seed`: 32 bytes.
    """
    order = list(range(n))
    words: list[int] = []
    taken = 0
    for i in range(n - 1, 0, -1):
        limit = (1 << 64) // (i + 1) * (i + 1)
        while True:
            if taken == len(words):
                words += expand(seed, max(n, 64), "<u8", start=taken).tolist()
            drawn = words[taken]
            taken += 1
            if drawn < limit:
                break
        j = drawn % (i + 1)
        order[i], order[j] = order[j], order[i]
    return order


def neighbours(n: int, k: int, position: int, seed: bytes) -> tuple[int, ...]:
    """The roster positions `position` is joined to, in increasing order."""
    if k == n - 1:
        return tuple(other for other in range(n) if other != position)
    if not 0 < k < n or k % 2:
        raise ProtocolError("graph-degree", f"a graph over {n} clients has an even degree below {n}, not {k}")
    order = permutation(seed, n)
    at = order.index(position)
    return tuple(sorted(order[(at + step) % n] for step in range(-(k // 2), k // 2 + 1) if step))
