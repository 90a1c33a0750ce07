"""The private step: clip each example's gradient, add them up, add noise (Abadi et al. 2016, algorithm 1).

Opacus computes the gradients of single examples and splits batches that do not fit into memory; clipping,
noise and the count of steps are here. A step is taken only over exactly the batch that was drawn for it:
rows too many would be an example that counts twice, or tokens clipped one by one, and a batch passed over
would be a step without noise.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from opacus.optimizers import DPOptimizer

from secagg.errors import PrivacyError, UpdateError
from secagg.prg import Random
from secagg.torch.batches import PoissonBatches
from secagg.torch.noise import gaussian
from secagg.torch.provenance import Provenance
from secagg.torch.state import named_tensors

__all__ = ["PrivateOptimizer"]


class PrivateOptimizer(DPOptimizer):  # type: ignore[misc]  # opacus has no types
    """Wraps an optimiser, whose own `step` from now on raises PrivacyError `private-bypassed`.

    expected_batch_size: examples a step draws on average, by which the noised sum is divided. keeps: what is
    to live as long as this optimiser does. The step
    raises PrivacyError `private-steps`, `private-changed`, `private-bypassed` or `private-module`, and
    UpdateError `private-gradient` or `private-batch`, which can depend on the data: a client that left at
    them would tell of it. It has then changed nothing of the model.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: torch.nn.Module,
        provenance: Provenance,
        batches: PoissonBatches,
        expected_batch_size: float,
        random: Random = os.urandom,
    ) -> None:
        account = provenance.account
        super().__init__(
            optimizer,
            noise_multiplier=account.noise_multiplier,
            max_grad_norm=account.terms.max_grad_norm,
            expected_batch_size=expected_batch_size,
        )
        self._model = model
        self._account = account
        self._provenance = provenance
        self._batches = batches
        self._random = random
        self._trained = tuple(self.params)
        ours = {id(p) for p in self._trained}
        self._named = {name: t for name, t in named_tensors(model).items() if id(t) in ours}
        self._rows = 0
        self._stepping = False
        self.keeps: object = None
        batches.restarted = self.discard
        optimizer.register_step_pre_hook(self._refuse_bare_step)

    def _refuse_bare_step(self, *_: Any) -> None:
        if not self._stepping:
            raise PrivacyError(
                "private-bypassed",
                "the original optimizer took a step past the private one",
                "model, optimizer, loader = secagg.torch.private(model, optimizer, loader, task); a run "
                "without privacy has an optimizer of its own",
            )

    def discard(self) -> None:
        """Forgets gradients that no step has used, and what Opacus kept of forward passes for them."""
        self._rows = 0
        self._step_skip_queue.clear()
        self._is_last_step_skipped = False
        for p in self._trained:
            p.grad_sample = p.summed_grad = None
            p._forward_counter = 0
            vars(p).pop("_current_grad_sample", None)
        for module in self._model.modules():
            vars(module).pop("activations", None)
            vars(module).pop("max_batch_len", None)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._check_unchanged()
        self._provenance.check(self._named)
        if self.pre_step():
            self._stepping = True
            try:
                self.original_optimizer.step()
            finally:
                self._stepping = False
                self._provenance.stepped(self._named)
        return loss

    def _check_unchanged(self) -> None:
        if (self.noise_multiplier, self.max_grad_norm) != (
            self._account.noise_multiplier,
            self._account.terms.max_grad_norm,
        ):
            raise PrivacyError(
                "private-changed",
                "the noise or the clipping of private training was changed since it began",
                "they are the plan's; a schedule of noise is not accounted for",
            )
        if [id(p) for p in self.params] != [id(p) for p in self._trained]:
            raise PrivacyError(
                "private-changed",
                "other parameters are trained than when private training began",
                "freeze, unfreeze and add parameters before the first call of secagg.torch.private",
            )

    def pre_step(self, closure: Callable[[], Any] | None = None) -> bool:  # noqa: ARG002
        """Clips, and unless more of the batch is to come, adds noise. Whether the step is to be taken."""
        with ExitStack() as exactly:
            # In bfloat16 one example among thousands would move the sum of them by several norms.
            for kind in {p.device.type for p in self._trained}:
                exactly.enter_context(torch.autocast(kind, enabled=False))
            self.clip_and_accumulate()
            self._is_last_step_skipped = self._check_skip_next_step()
            if self._is_last_step_skipped:
                return False
            self.add_noise()
            self.scale_grad()
        return True

    def clip_and_accumulate(self) -> None:
        """An example whose gradient is not finite adds nothing; neither does a draw without examples."""
        samples = [self._sample(p) for p in self._trained]
        rows = len(samples[0])
        if any(len(sample) != rows for sample in samples) or self._rows + rows > self._due():
            self._refuse_batch()
        self._rows += rows
        device = samples[0].device
        norms = torch.stack([sample.norm(2, dim=1).to(device) for sample in samples]).norm(2, dim=0)
        counted = norms.isfinite()
        if self._batches.drawn[0] == 0:
            counted.zero_()
        some_left_out = not bool(counted.all())
        factors = torch.where(counted, (self.max_grad_norm / (norms + 1e-6)).clamp(max=1.0), 0.0)
        for p, sample in zip(self._trained, samples, strict=True):
            if some_left_out:  # zero times infinity would be no number
                sample = torch.where(counted.to(sample.device)[:, None], sample, 0.0)
            # (A vector's product, since one of matrices may be of fewer digits by a setting of the process.)
            total = torch.mv(sample.t(), factors.to(sample)).view_as(p)
            before = p.summed_grad
            p.summed_grad = total if before is None else before + total
            p.grad_sample = None

    def _sample(self, p: torch.Tensor) -> torch.Tensor:
        """The gradients of single examples, a row each."""
        sample = getattr(p, "grad_sample", None)
        if not isinstance(sample, torch.Tensor):
            self.discard()
            raise UpdateError(
                "private-gradient",
                "a parameter has no gradients of single examples, or those of several batches",
                "one loss.backward() before each step, after model.train(), every trainable parameter in "
                "use; anything else that runs the model does so under torch.no_grad()",
            )
        if sample.dtype.itemsize < torch.float32.itemsize:
            # The mean's 1 / rows is rounded anew with each row more, and so is every example's gradient.
            self.discard()
            raise PrivacyError(
                "private-module",
                f"gradients are computed in {str(sample.dtype).removeprefix('torch.')}, in which one example "
                "changes the rounding of all the others'",
                "model and loss without torch.autocast, in float32",
            )
        exact = torch.promote_types(p.dtype, torch.float32)
        return sample.detach().to(exact).reshape(len(sample), p.numel())

    def _due(self) -> int:
        """Rows of the batch that the next step is for; -1 if none was drawn."""
        return max(self._batches.drawn[0], 1) if self._batches.drawn else -1

    def _refuse_batch(self) -> None:
        self.discard()
        raise UpdateError(
            "private-batch",
            "this step's gradients are not of exactly the batch that was drawn for it",
            "take the batches from the loader that secagg.torch.private returned, one step for each and none "
            "passed over; the model and collate_fn keep one row an example",
        )

    def add_noise(self) -> None:
        if self._rows != self._due():
            self._refuse_batch()
        self._account.stepped()
        self._batches.drawn.popleft()
        self._rows = 0
        std = self.noise_multiplier * self.max_grad_norm
        for p in self._trained:
            noise = torch.from_numpy(gaussian(self._random(32), p.numel(), std)).view_as(p)
            total: torch.Tensor = p.summed_grad
            p.grad = (total.to("cpu", torch.float64) + noise).to(p)
            p.summed_grad = None

    def scale_grad(self) -> None:
        for p in self._trained:
            if p.grad is not None:
                p.grad /= self.expected_batch_size
