"""Random directions that do not touch one another: what canaries write into an update, and are looked for by.

Drawn uniformly among all sets of orthonormal vectors (Mezzadri 2007, How to generate random matrices from the
classical compact groups, arXiv math-ph/0609050, section 5), so that one canary's update adds nothing to
another's score, however small the model is. More canaries than dimensions have no such set: then each is
uniform on the unit sphere by itself (as in Andrew et al. 2023, arXiv 2302.03098).
"""

from __future__ import annotations

import numpy as np

from secagg_attacks.audit.bound import Floats

__all__ = ["directions"]


def directions(size: int, count: int, seed: int) -> Floats:
    """Unit vectors, float64 of shape (count, size); the first ones of a seed do not depend on `count` as long
    as that is at most `size`."""
    drawn = np.stack(
        [np.random.default_rng((seed, 1 + index)).standard_normal(size) for index in range(count)], axis=1
    )
    if count > size:
        return np.ascontiguousarray((drawn / np.linalg.norm(drawn, axis=0)).T)
    basis, mixing = np.linalg.qr(drawn)
    return np.ascontiguousarray((basis * np.sign(np.diagonal(mixing))).T)
