"""The demo's first act: a server and five clients in processes of their own, one of them killed on the way.

The victim is killed by SIGKILL in the stage "mask" of one round, after it shared its keys: the hard place,
where the others' vectors already carry masks that only the victim could take away. That round has to finish
by recovery, over four of five. The victim is then started again, and takes part again once it is there.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from secagg.cli.demo import setting
from secagg.cli.demo.folder import AGGREGATOR, machine
from secagg.cli.demo.processes import Child, Children
from secagg.errors import RunError

__all__ = ["VICTIM", "Audience", "Federation", "Killing", "Round", "federation", "kill_round"]

VICTIM: Final = "hospital-3"

_GOODBYE_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Round:
    """A round as the server reports it. accuracy: of the global model after it, on the common test set."""

    round: int
    code: str
    cohort: int
    survivors: int
    loss: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Killing:
    """Who was killed and when, what the server's log says of it, and the round that it was back in."""

    client: str
    round: int
    stage: str
    logged: str
    survivors: int
    returned_in: int | None


@dataclass(frozen=True)
class Federation:
    """The whole act. home: those whom the final model reached."""

    rounds: tuple[Round, ...]
    killing: Killing
    home: tuple[str, ...]
    run_dir: Path


class Audience(Protocol):
    """Who is told what happens, at once."""

    def rounds(self) -> AbstractContextManager[object]:
        """Within, rounds are played."""

    def say(self, sentence: str) -> None:
        """Something happened."""

    def closed(self, round: Round) -> None:
        """A round is over."""


def kill_round(rounds: int) -> int:
    """The round in which the victim is killed: the fifth, or the middle of a short run."""
    return min(5, (rounds + 1) // 2)


def federation(folder: Path, seed: int, rounds: int, audience: Audience) -> Federation:
    """Plays the act in a furnished folder.

    Raises RunError `demo-aggregator` when the server ended early, `demo-unrecovered` when the round of the
    killing was not opened.
    """
    with Children() as children, audience.rounds():
        act = _Act(folder, seed, kill_round(rounds), children, audience)
        act.play()
        return Federation(tuple(act.rounds), act.killing(), act.home(), act.run_dir)


class _Act:
    """What is known of the run so far."""

    def __init__(
        self, folder: Path, seed: int, kill_round: int, children: Children, audience: Audience
    ) -> None:
        self._folder, self._seed, self._kill_round = folder, seed, kill_round
        self._children, self._audience = children, audience
        self._hospitals: dict[str, Child] = {}
        self._address = ""
        self._stage = ""
        self.rounds: list[Round] = []
        self.run_dir = Path()

    def play(self) -> None:
        host = machine(self._folder, AGGREGATOR)
        aggregator = self._children.start(
            "secagg.cli.demo.aggregator", str(host.path), str(self._kill_round), VICTIM, log=host.log
        )
        finished = False
        for fact in aggregator.told():
            match fact["event"]:
                case "listening":
                    self._address = fact["address"]
                    for name in setting.NAMES:
                        self._start(name)
                    self._audience.say(
                        f"aggregator on {self._address}; five hospitals dial it over mutual TLS"
                    )
                case "asks":
                    self._kill(fact["client"], fact["stage"])
                    aggregator.go_ahead()
                case "round":
                    self._closed(fact)
                case "finished":
                    finished, self.run_dir = True, Path(fact["run_dir"])
        code = aggregator.wait(_GOODBYE_SECONDS)
        if not finished or code != 0:
            raise RunError(
                "demo-aggregator",
                f"the aggregator's process ended early, with exit code {code}",
                f"{host.log} says why; each hospital has a log.txt beside it",
            )

    def killing(self) -> Killing:
        broken = self.rounds[self._kill_round - 1]
        if broken.code:
            raise RunError(
                "demo-unrecovered",
                f"round {broken.round}, in which {VICTIM} was killed, opened nothing ({broken.code})",
                f"{self.run_dir / 'log.jsonl'} says why",
            )
        later = self.rounds[self._kill_round :]
        returned = next((closed.round for closed in later if closed.survivors == len(setting.NAMES)), None)
        return Killing(VICTIM, broken.round, self._stage, self._logged(), broken.survivors, returned)

    def home(self) -> tuple[str, ...]:
        """Waits for those who are still saving the final model; one that came too late is not waited for."""
        late = self.rounds[-1].survivors < len(setting.NAMES)
        return tuple(
            name
            for name, child in self._hospitals.items()
            if child.wait(0.0 if late and name == VICTIM else _GOODBYE_SECONDS) == 0
        )

    def _start(self, name: str) -> None:
        its = machine(self._folder, name)
        self._hospitals[name] = self._children.start(
            "secagg.cli.demo.hospital", str(its.path), self._address, str(self._seed), log=its.log
        )

    def _kill(self, client: str, stage: str) -> None:
        self._hospitals[client].kill()
        self._stage = stage
        self._audience.say(
            f"{client} is killed (SIGKILL) in round {self._kill_round}, stage '{stage}': its keys are "
            "shared, its vector has not left"
        )

    def _closed(self, fact: dict[str, Any]) -> None:
        closed = Round(
            fact["round"],
            fact["code"],
            fact["cohort"],
            fact["survivors"],
            fact["metrics"].get("loss"),
            fact["evaluation"].get("accuracy"),
        )
        before = self.rounds[-1].survivors if self.rounds else 0
        self.rounds.append(closed)
        self._audience.closed(closed)
        if closed.round == self._kill_round:
            ending = f"did not open ({closed.code})" if closed.code else "finished by recovery"
            self._audience.say(
                f"round {closed.round} {ending}, over {closed.survivors} of {closed.cohort}; "
                f"{VICTIM} is started again"
            )
            self._start(VICTIM)
        elif closed.round > self._kill_round and before < closed.survivors == len(setting.NAMES):
            self._audience.say(f"{VICTIM} is back in the sum in round {closed.round}")

    def _logged(self) -> str:
        """The line of the run's log that names the victim in that round."""
        for line in (self.run_dir / "log.jsonl").read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if (entry.get("round"), entry.get("client")) == (self._kill_round, VICTIM):
                return f"{entry['event']}: {VICTIM}, stage {entry['stage']} ({entry['code']})"
        return ""
