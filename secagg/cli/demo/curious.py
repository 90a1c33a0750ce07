"""The demo's second act: a curious server looks at what it holds of one client.

One round over the real coordinator, participants and sessions, in one process, with a tap on every frame.
hospital-1 trained on a single example, the worst case. The round is played twice, with the same randomness
of the rounding: with masks, and, for what a mask hides, without.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

import secagg
from secagg.cli.demo import network, setting
from secagg.cli.demo.digits import Examples, clients
from secagg.encoding.packing import unpack
from secagg.errors import RunError
from secagg.frames import Frame, Reply
from secagg.masking.messages import MaskReply
from secagg.prg import Random
from secagg.protections import codec_of
from secagg.update import Train

__all__ = ["WATCHED", "Held", "held"]

WATCHED: Final = "hospital-1"

RingVector: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, eq=False, repr=False)
class Held:
    """What the server held of one client, and what was inside.

    example: (64,), the one image trained on. masked, update: ring vectors of `bits` bits, decoded from the
    bytes that reached the server. layout: name and shape of each array, in their order. same_model: whether
    both rounds ended with the same weights, to the last bit.
    """

    example: npt.NDArray[np.float32]
    masked: RingVector
    update: RingVector
    bits: int
    layout: tuple[tuple[str, tuple[int, ...]], ...]
    same_model: bool


@dataclass
class _Ear:
    """A tap that keeps the one client's vector, as it reached the server."""

    stage: str
    heard: list[bytes] = field(default_factory=list)

    def __call__(self, sender: str, _: str, frame: Frame) -> None:
        if sender == WATCHED and isinstance(frame, Reply) and frame.stage == self.stage:
            self.heard.append(bytes(frame.body))

    def only(self) -> bytes:
        if len(self.heard) != 1:
            raise RunError("demo-unheard", f"{len(self.heard)} vectors of {WATCHED} were heard, not one")
        return self.heard[0]


def held(seed: int) -> Held:
    """Plays the round twice. Nothing leaves this process."""
    plan, weights = setting.plan(rounds=1), network.initial_weights(seed)
    shares = clients(setting.NAMES, setting.ALPHA, seed)
    one = shares[WATCHED].take(np.flatnonzero(shares[WATCHED].labels > 1)[:1])  # a 1 is hardly a picture
    trains: dict[str, Train] = {name: setting.train_function(name, seed) for name in setting.NAMES}
    trains[WATCHED] = _one_step(one)
    rounding = {name: os.urandom(32) for name in setting.NAMES}

    def random(name: str) -> Random:
        return lambda count: rounding[name][:count]

    masked_ear, bare_ear = _Ear("mask"), _Ear("upload")
    with_masks = secagg.simulate(weights, plan, trains, tap=masked_ear, rounding=random)
    without = secagg.simulate(weights, plan, trains, masks=False, tap=bare_ear, rounding=random)

    codec = codec_of(plan, weights)
    return Held(
        example=one.images[0],
        masked=unpack(MaskReply.from_bytes(masked_ear.only()).vector, codec.length, codec.bits),
        update=unpack(bare_ear.only(), codec.length, codec.bits),
        bits=codec.bits,
        layout=tuple((part.name, part.shape) for part in codec.layout.parts),
        same_model=all(np.array_equal(with_masks.weights[name], without.weights[name]) for name in weights),
    )


def _one_step(one: Examples) -> Train:
    """One step of gradient descent on one example."""

    def train(task: secagg.Task) -> secagg.Update:
        weights, loss = network.train(
            task.weights,
            one.images,
            one.labels,
            epochs=1,
            learning_rate=task.config["learning_rate"],
            batch_size=1,
            rng=np.random.default_rng(0),
        )
        return secagg.Update(weights, num_examples=1, metrics={"loss": loss})

    return train
