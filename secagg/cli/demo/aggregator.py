"""The aggregator's process: `python -m secagg.cli.demo.aggregator MACHINE ROUND VICTIM`.

A server as a user would write one, and two things more: it tells the demo what happens, and just before it
asks VICTIM for its masked vector in ROUND it says so and waits for a go-ahead. The demo kills the victim in
between: after it shared its keys with the others, before its vector leaves.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from pathlib import Path

from secagg import Credentials, Plan, RoundReport, SecaggError, Server
from secagg import weights as named_arrays
from secagg.cli.demo.folder import Machine, read_examples
from secagg.cli.demo.network import accuracy
from secagg.cli.demo.processes import go_aheads, tell
from secagg.frames import Frame, Request
from secagg.weights import Weights

__all__ = ["main"]


def main(path: str, kill_round: str, victim: str) -> None:
    machine, test = Machine(Path(path)), read_examples(Machine(Path(path)).test)
    moment = (int(kill_round), "mask", victim)
    go_ahead = go_aheads()

    def tap(_: str, receiver: str, frame: Frame) -> None:
        if isinstance(frame, Request) and (frame.round, frame.stage, receiver) == moment:
            tell("asks", stage=frame.stage, client=receiver)
            go_ahead.get()

    def evaluate(weights: Weights) -> dict[str, float]:
        return {"accuracy": accuracy(weights, test.images, test.labels)}

    def report(closed: RoundReport) -> None:
        tell("round", **asdict(closed))

    with Server(
        named_arrays.load(machine.initial),
        Plan.load(machine.plan),
        credentials=Credentials.load(machine.credentials),
        listen="127.0.0.1:0",
        evaluate=evaluate,
        runs=machine.runs,
        on_round=report,
        tap=tap,
    ) as server:
        tell("listening", address=server.address)
        result = server.run()
    tell("finished", run_dir=str(result.run_dir))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        main(*sys.argv[1:])
    except SecaggError as failure:
        logging.getLogger("secagg.server").critical("%s", failure)
        sys.exit(failure.exit_code)
