"""The least a client accepts, whoever asks: its own rules, kept by the hospital and not by the server.

A plan comes from the server, and a client trusts no plan. Before it trains, its floor looks at the plan, and
before it shares a key, at the roster. The defaults are safe: masks against a malicious server, three
survivors or more. A floor is about what is asked; that the server then keeps to it is the protocol's
business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ModelWrapValidatorHandler, ValidationInfo, model_validator

from secagg.errors import FloorError, Problem
from secagg.plan import Plan, policy_of
from secagg.privacy.accountant import within
from secagg.privacy.mechanisms import Use
from secagg.strict_toml import Parsed, Section, parse_toml, read_text, validate_whole

__all__ = ["Floor"]

_SHA256 = re.compile(r"[0-9a-f]{64}")


def _sha256(text: str) -> str:
    """Plain lower-case hex, from that or from the upper-case, colon-separated form that openssl prints."""
    plain = text.replace(":", "").lower()
    if not _SHA256.fullmatch(plain):
        raise ValueError("a SHA-256 in hex, 64 digits, is expected")
    return plain


def _something(accepted: Set[str]) -> frozenset[str]:
    if not accepted:
        raise ValueError("is empty, which accepts nothing at all")
    return frozenset(accepted)


Digest = Annotated[str, AfterValidator(_sha256)]
Unit = Literal["none", "example", "client"]
Some = (Field(strict=False), AfterValidator(_something))


class Floor(Section):
    """What a client insists on. `Floor()` is safe; `Floor(min_survivors=5)` asks for more.

    protections     kinds of [protection] accepted
    adversary       assumed adversaries accepted
    min_survivors   no sum over fewer
    min_colluders   the plan must tolerate at least so many clients colluding with the server (a number, not a
                    share: ⌈colluders · max_clients⌉)
    members         certificate fingerprints (SHA-256, hex) of those it takes part with, itself among them;
                    None: any that the authority signed
    plan_digest     the only plan accepted (hex); None: any
    units           privacy units accepted in a plan
    max_epsilon     the most that client-level noise, and the most that DP-SGD, may have cost by this client's
                    own journal, each counted by itself over all runs, against a server with the plan's
                    colluders; plans without privacy are refused then. None: no limit
    max_delta       the delta at which max_epsilon is meant, whatever the plan's
    max_openings    in how many opened sums this client may be, over all runs; None: no limit
    """

    protections: Annotated[Set[Literal["masks", "bfv", "ckks", "none"]], *Some] = frozenset({"masks"})
    adversary: Annotated[Set[Literal["malicious", "semi-honest"]], *Some] = frozenset({"malicious"})
    min_survivors: Annotated[int, Field(ge=2)] = 3
    min_colluders: Annotated[int, Field(ge=0)] = 0
    members: Annotated[Set[Digest], *Some] | None = None
    plan_digest: Digest | None = None
    units: Annotated[Set[Unit], *Some] = frozenset({"none", "example", "client"})
    max_epsilon: Annotated[float, Field(gt=0)] | None = None
    max_delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    max_openings: Annotated[int, Field(ge=1)] | None = None

    @classmethod
    def load(cls, path: str | Path) -> Floor:
        """The floor in a TOML file; `PlanError` lists everything wrong with it."""
        source = Path(path).name
        return cls.model_validate(parse_toml(read_text(path), source), context={"source": source})

    def check_plan(self, plan: Plan) -> None:
        """One `FloorError` that says all this floor refuses in the plan, with the code of the first."""
        refused = list(self._refusals(plan))
        if refused:
            raise FloorError(
                refused[0][0],
                "this client's floor refuses the plan: " + "; ".join(message for _, message in refused),
                "ask for another plan, or have whoever keeps the floor lower it on purpose",
            )

    def check_budget(self, spent: Sequence[Use], next_uses: Sequence[Use], openings: int) -> None:
        """Raises FloorError where one more opened sum would be too much.

        spent: what this client's journal says is spent, in all runs. next_uses: what the next sum will cost.
        openings: sums so far. Codes `floor-openings`, `floor-epsilon`.
        """
        if self.max_openings is not None and openings >= self.max_openings:
            raise FloorError(
                "floor-openings",
                f"this client has been in {openings} opened sums, and its floor allows {self.max_openings}",
                "its part is done, unless whoever keeps the floor raises max_openings on purpose",
            )
        if self.max_epsilon is None:
            return
        for unit in sorted({use.unit for use in (*spent, *next_uses)}):
            uses = [use for use in (*spent, *next_uses) if use.unit == unit]
            if not within(uses, self.max_epsilon, self.max_delta, "colluders"):
                raise FloorError(
                    "floor-epsilon",
                    f"one more round would bring what one {unit} has spent here above epsilon = "
                    f"{self.max_epsilon:g} at delta = {self.max_delta:g}",
                    "its budget is used up, unless whoever keeps the floor raises max_epsilon on purpose",
                )

    def admits(self, fingerprint: str) -> bool:
        """Whether the holder of the certificate with this SHA-256 fingerprint may be in the same sum."""
        return self.members is None or fingerprint.replace(":", "").lower() in self.members

    def _refusals(self, plan: Plan) -> Iterator[tuple[str, str]]:
        cohort, kind, digest = plan.cohort, plan.protection.kind, plan.digest.hex()
        if kind not in self.protections:
            yield (
                "floor-protection",
                f'protection "{kind}", where only {_listed(self.protections)} is accepted',
            )
        if cohort.adversary not in self.adversary:
            accepted = _listed(self.adversary)
            yield (
                "floor-adversary",
                f'a server assumed "{cohort.adversary}", where only {accepted} is accepted',
            )
        if cohort.min_survivors < self.min_survivors:
            yield (
                "floor-survivors",
                f"sums over {cohort.min_survivors} clients, where {self.min_survivors} is the least accepted",
            )
        if policy_of(plan).c < self.min_colluders:
            yield (
                "floor-colluders",
                f"{policy_of(plan).c} colluding clients tolerated, where {self.min_colluders} is the "
                "least accepted",
            )
        if plan.privacy.unit not in self.units:
            yield (
                "floor-unit",
                f'the privacy unit "{plan.privacy.unit}", where only {_listed(self.units)} is accepted',
            )
        if self.max_epsilon is not None and plan.privacy.unit == "none":
            yield (
                "floor-epsilon",
                f"no privacy unit, where epsilon = {self.max_epsilon:g} is the most accepted",
            )
        if self.plan_digest is not None and digest != self.plan_digest:
            yield (
                "floor-plan",
                f"its digest is {digest[:16]}..., where only {self.plan_digest[:16]}... is accepted",
            )

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, document: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if isinstance(document, dict):  # None, from Python, is how one says: any
            document = {key: value for key, value in document.items() if value is not None}
        return validate_whole(cls, document, handler, info, _no_cross_problems)


def _no_cross_problems(floor: Floor, parsed: Parsed) -> Iterator[Problem]:  # noqa: ARG001 - no two fields clash
    return iter(())


def _listed(accepted: Set[str]) -> str:
    return " or ".join(f'"{kind}"' for kind in sorted(accepted))
