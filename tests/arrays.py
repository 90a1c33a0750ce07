"""Hypothesis strategies for models: named arrays of every dtype, shape and memory order."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from secagg.weights import Array

FLOATS = ("<f2", "<f4", "<f8", ">f4", ">f8")
ORDERS = ("C", "F", "strided", "reversed")
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def laid_out(array: Array, order: str) -> Array:
    """The same values, otherwise in memory."""
    if order == "F":
        return np.asfortranarray(array).reshape(array.shape)
    if order == "strided" and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), dtype=array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if order == "reversed" and array.ndim:
        return np.ascontiguousarray(array[::-1])[::-1]
    return array


@st.composite
def arrays(draw: st.DrawFn, limit: float = 100.0) -> Array:
    """One floating array of small numbers."""
    dtype = np.dtype(draw(st.sampled_from(FLOATS)))
    array = draw(
        npst.arrays(dtype, SHAPES, elements=st.floats(-limit, limit, width=16, allow_subnormal=False))
    )
    return laid_out(array, draw(st.sampled_from(ORDERS)))


def models(limit: float = 100.0) -> st.SearchStrategy[dict[str, Array]]:
    """One to four named arrays with at least one coordinate among them."""
    names = st.sampled_from(["a", "b.weight", "b.bias", "z", "é"])
    return st.dictionaries(names, arrays(limit), min_size=1, max_size=4).filter(
        lambda model: any(array.size for array in model.values())
    )
