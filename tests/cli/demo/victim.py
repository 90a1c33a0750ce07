"""A client whose update comes from one example, as the real encoding makes it, and a mask for it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from secagg.cli.demo import network
from secagg.cli.demo.digits import digits
from secagg.cli.demo.setting import CLIP_NORM, LEARNING_RATE
from secagg.encoding.codec import Codec, Settings
from secagg.encoding.ring import word
from secagg.prg import expand
from secagg.weights import Layout


@dataclass(frozen=True, eq=False)
class Victim:
    example: npt.NDArray[np.float32]
    update: npt.NDArray[Any]
    masked: npt.NDArray[Any]
    bits: int
    layout: tuple[tuple[str, tuple[int, ...]], ...]


def victim(
    index: int = 3, clip_norm: float = CLIP_NORM, learning_rate: float = LEARNING_RATE, mask: int = 1
) -> Victim:
    train, weights = digits().train, network.initial_weights(0)
    one = slice(index, index + 1)
    stepped, _ = network.train(
        weights, train.images[one], train.labels[one], 1, learning_rate, 1, np.random.default_rng(0)
    )
    layout = Layout.of(weights)
    codec = Codec(layout, Settings(5, clip_norm))
    update = codec.encode(stepped, base=weights, num_examples=1, metrics={}, seed=bytes(32)).vector
    lowest = word(codec.bits).type((1 << codec.bits) - 1)
    stream = expand(mask.to_bytes(32, "little"), len(update), update.dtype)
    return Victim(
        train.images[index],
        update,
        (update + stream) & lowest,
        codec.bits,
        tuple((part.name, part.shape) for part in layout.parts),
    )
