"""One tree of errors, each with a code, a message and a way out.

    SecaggError
    ├── PlanError            a plan that cannot be run; carries every problem at once
    ├── CredentialsError     a certificate or key that is missing, wrong, expired or of the wrong role
    ├── FloorError           a client's own floor refuses what a plan or a roster asks
    ├── UpdateError          what a train function returned cannot be aggregated
    ├── EncodingError        numbers that do not fit the ring, or bytes that are not a ring vector
    ├── ProtocolError        a session that cannot go on
    │   ├── ServerFault      a client found the server's request wrong; it has revealed nothing
    │   ├── ClientFault      the server found a client's reply wrong; names the client
    │   └── TooFewClients    a stage closed with fewer answers than the protocol needs
    ├── TransportError       frames, streams, TLS
    ├── RunError             a run directory or a run that cannot go on
    │   ├── BudgetError      the next round would cost more than the plan's privacy budget has left
    │   └── BeatenAccountError   (secagg.report) a measured lower bound on epsilon is above the account
    ├── StateError           a client's state folder that cannot be used, or what it forbids
    ├── PrivacyError         noise, accounting or private training that would not keep its promise
    ├── CommandError         (secagg.cli) what the command line asks for cannot be done
    └── MissingExtraError    an optional dependency that is not installed

`code` is for machines and never changes its meaning; `docs/errors.md` lists every one. `hint` says what
to do. No error ever carries a secret, an example weight, a metric or a count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "BudgetError",
    "ClientFault",
    "CredentialsError",
    "EncodingError",
    "FloorError",
    "MissingExtraError",
    "PlanError",
    "PrivacyError",
    "Problem",
    "ProtocolError",
    "RunError",
    "SecaggError",
    "ServerFault",
    "StateError",
    "TooFewClients",
    "TransportError",
    "UpdateError",
]


class SecaggError(Exception):
    """What every error of this library is: a message, a stable `code` and a `hint` (may be empty)."""

    exit_code = 1

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]" + (f"\n  {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a plan: where (`cohort.max_clients`), what, and the way out."""

    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class PlanError(SecaggError):
    """A plan that cannot be run; `problems` lists all of them."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem], source: str = "plan") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__("plan-invalid", f"{source} has {count} problem{'s' * (count != 1)}:{lines}")


class CredentialsError(SecaggError):
    """A certificate or key that is missing, wrong, expired or of the wrong role."""

    exit_code = 2


class FloorError(SecaggError):
    """What a plan or a roster asks is weaker than this client's own floor allows."""

    exit_code = 4


class UpdateError(SecaggError):
    """What a train function returned cannot be aggregated. Stays on the client."""


class EncodingError(SecaggError):
    """Numbers that do not fit the ring, or bytes that are not a ring vector."""


class ProtocolError(SecaggError):
    """A session that cannot go on."""


class ServerFault(ProtocolError):
    """A client found the server's request wrong. The client has aborted and erased its secrets."""


class ClientFault(ProtocolError):
    """The server found the reply of `client` wrong. The session goes on without that client."""

    def __init__(self, code: str, message: str, client: str, hint: str = "") -> None:
        super().__init__(code, message, hint)
        self.client = client


class TooFewClients(ProtocolError):
    """A stage closed with fewer answers than the protocol needs. Nothing was opened."""

    def __init__(self, stage: str, needed: int, got: int) -> None:
        super().__init__(
            "too-few-clients",
            f"stage '{stage}' needs {needed} clients and {got} answered in time",
            "more clients, a longer stage_deadline, or a plan that tolerates more dropouts",
        )
        self.stage, self.needed, self.got = stage, needed, got


class TransportError(SecaggError):
    """Frames, streams, TLS: what travels between the two sides, or fails to."""


class RunError(SecaggError):
    """A run directory that cannot be used, or a run that cannot go on."""


class BudgetError(RunError):
    """The next round would cost more than the privacy budget has left. The run ends, its model kept."""

    exit_code = 3


class StateError(SecaggError):
    """A client's state folder that cannot be used, or a step that what is written there forbids."""

    exit_code = 2


class PrivacyError(SecaggError):
    """Noise, accounting or private training that would not keep what it promises. Nothing was released."""

    exit_code = 2


class MissingExtraError(SecaggError, ImportError):
    """An optional dependency is not installed; the message prints the command that installs it."""

    exit_code = 2

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            "extra-missing", f"this needs {package}", f"install it with: pip install 'secagg[{extra}]'"
        )
