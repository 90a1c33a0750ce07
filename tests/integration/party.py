"""What runs in the processes of these tests: a server, or a client of some kind, as its orders say.

    python -m tests.integration.party '{"part": "client", ...}'

Says what happens as JSON lines on standard output, and logs to standard error. An error of this library is
printed and becomes its exit code, as on the command line. Whoever is to die or stop does it to itself, at the
very frame it was told. `records`: a folder, for all that passes a server, or for a secret key that a client
holds when it has uploaded. `without`: modules that cannot be imported, as if they were not installed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

import secagg
import secagg.client
import secagg.server
from secagg.certificates import Authority, Identity
from secagg.errors import SecaggError
from secagg.frames import Frame, Reply, Request, TaskFrame
from secagg.homomorphic.client import HomomorphicClient
from secagg.participant import Participant
from secagg.transport.connection import Connection
from secagg.transport.link import GrpcLink
from secagg.weights import save
from tests.integration.model import delta_of, initial_weights

_speaking = threading.Lock()


def say(**fields: object) -> None:
    with _speaking:
        print(json.dumps(fields), flush=True)


def _of_seal() -> list[str]:
    """What this process imported of what a homomorphic client needs."""
    return [name for name in ("tenseal", "backports.zstd") if sys.modules.get(name) is not None]


# -- the server ---------------------------------------------------------------------------------------


def serve(orders: dict) -> None:
    held = [tuple(at) for at in orders.get("holds", ())]
    seen = count()

    def tap(sender: str, receiver: str, frame: Frame) -> None:
        """Before the first frame of a stage in `holds` leaves: says so, and waits for a line."""
        if "records" in orders and isinstance(frame, Request | Reply):
            name = f"{next(seen):04d} {frame.round} {frame.stage} {sender} {receiver}"
            (Path(orders["records"]) / name).write_bytes(frame.body)
        stage = "train" if isinstance(frame, TaskFrame) else frame.stage if isinstance(frame, Request) else ""
        if sender == "server" and (at := (getattr(frame, "round", 0), stage)) in held:
            held.remove(at)
            say(held=list(at), attempt=getattr(frame, "attempt", 0), receiver=receiver)
            sys.stdin.readline()

    # Nobody in these tests comes back to the same stage: the dead need no two seconds of grace.
    secagg.server.GrpcLink = partial(  # type: ignore[assignment,misc]
        GrpcLink, grace=orders.get("grace", 0.5)
    )
    server = secagg.Server(
        initial_weights(),
        secagg.Plan.from_json(orders["plan"]),
        credentials=secagg.Credentials.load(orders["credentials"]),
        listen=orders["listen"],
        runs=orders["runs"],
        evaluate=(lambda weights: {"moved": float(weights["who"].sum())})
        if orders.get("evaluates")
        else None,
        aggregate=AGGREGATES.get(orders.get("aggregate", "")),
        on_round=lambda report: say(
            round=report.round,
            code=report.code,
            attempts=report.attempts,
            cohort=report.cohort,
            survivors=report.survivors,
            metrics=dict(report.metrics),
            evaluation=dict(report.evaluation),
        ),
        tap=tap,
    )
    say(address=server.address, run_dir=str(server.run_dir))
    result = server.run()
    save(orders["out"], result.weights)
    say(done=len(result.history), seal=_of_seal())


def _user_aggregate(state: dict, weights: dict, mean_update: Mapping) -> tuple[dict, dict]:
    """A user's own: half a step, and how many there were."""
    moved = {
        name: (weights[name] + 0.5 * step).astype(weights[name].dtype) for name, step in mean_update.items()
    }
    return {"steps": state.get("steps", np.zeros((), np.int64)) + 1}, {**weights, **moved}


AGGREGATES = {"user": _user_aggregate}


# -- clients ------------------------------------------------------------------------------------------


def take_part(orders: dict) -> None:
    """A client. `bad`: round -> what is wrong with its update; `signals`, `spoils`: what, at which stage."""
    name, path = orders["name"], orders["credentials"]
    signals = {(at["round"], at["stage"]): signal.Signals[at["signal"]] for at in orders.get("signals", ())}
    bad: dict[str, str] = orders.get("bad", {})

    def train(task: secagg.Task) -> secagg.Update:
        say(training=task.round)
        if (task.round, "train") in signals:
            os.kill(os.getpid(), signals[task.round, "train"])
        arrays: dict = {key: task.weights[key] + step for key, step in delta_of(name).items()}
        flaw = bad.get(str(task.round), bad.get("*", ""))
        return BAD[flaw](arrays) if flaw else _update(arrays, orders)

    secagg.client.Participant = _interrupted(  # type: ignore[misc]
        signals, orders.get("spoils", {}), orders.get("records")
    )
    client = secagg.Client(
        orders["address"],
        train,
        credentials=secagg.Credentials.load(path),
        evaluate=(lambda weights: {"seen": float(weights["who"].sum())}) if orders.get("evaluates") else None,
        floor=secagg.Floor(**orders.get("floor", {})),
        state=orders.get("state"),
        give_up_after=orders.get("give_up_after", 60.0),
        rounding=rounding(name) if orders.get("same_rounding") else os.urandom,
    )
    say(started=name)
    result = client.run()
    save(orders["out"], result.weights)
    say(done=result.rounds, seal=_of_seal())


def rounding(name: str) -> Callable[[int], bytes]:
    """The same stream of bytes for the same client, whoever runs it."""
    stream = hashlib.shake_256(f"rounding of {name}".encode())
    taken = 0

    def random(count: int) -> bytes:
        nonlocal taken
        taken += count
        return stream.digest(taken)[-count:]

    return random


def example_count(name: str) -> int:
    return 10 * (1 + int(name.rpartition("-")[2]))


def loss(name: str) -> float:
    return 0.25 * (1 + int(name.rpartition("-")[2]))


def _update(arrays: dict, orders: dict) -> secagg.Update:
    name = orders["name"]
    return secagg.Update(arrays, example_count(name), {"loss": loss(name)} if orders.get("measures") else {})


def _raise(_: object) -> secagg.Update:
    raise RuntimeError("the file of patient 4711 cannot be read")


BAD: dict[str, Callable[[dict], secagg.Update]] = {
    "nan": lambda arrays: secagg.Update({**arrays, "layer": np.full((4, 6), np.nan, np.float32)}),
    "shape": lambda arrays: secagg.Update({**arrays, "layer": arrays["layer"].T}),
    "missing": lambda arrays: secagg.Update({"who": arrays["who"]}),
    "extra": lambda arrays: secagg.Update({**arrays, "hidden": np.zeros(3)}),
    "integer": lambda arrays: secagg.Update({**arrays, "layer": np.zeros((4, 6), np.int64)}),
    "overflow": lambda arrays: secagg.Update({**arrays, "who": np.full_like(arrays["who"], 1e300)}),
    "no-update": lambda arrays: arrays,  # type: ignore[dict-item,return-value]
    "raises": _raise,
}


def _interrupted(
    signals: Mapping[tuple[int, str], signal.Signals], spoils: Mapping, records: str | None
) -> type[Participant]:
    """A participant that meets its fate when it is asked a stage: a signal to itself, or a spoilt reply.

    The stage "trained" is when its training is done and on the disk, and nothing of it has left.
    """

    class Interrupted(Participant):
        def handle(self, frame: Frame) -> Frame | None:
            at = (frame.round, frame.stage) if isinstance(frame, Request) else None
            if at in signals:
                os.kill(os.getpid(), signals[at])
            answer = super().handle(frame)
            if isinstance(frame, TaskFrame) and (frame.round, "trained") in signals:
                os.kill(os.getpid(), signals[frame.round, "trained"])
            if isinstance(answer, Reply) and at == (spoils.get("round"), spoils.get("stage")):
                return replace(answer, body=b"\x01" + os.urandom(spoils["bytes"]))
            if records is not None and at is not None and at[1] == "upload":
                _record_secret_key(self, Path(records))
            return answer

    return Interrupted


def _record_secret_key(one: Participant, folder: Path) -> None:
    session = one._session
    if isinstance(session, HomomorphicClient) and session._decryptor is not None:
        key = session._decryptor._key
        if key is not None:
            (folder / "secret-key").write_bytes(key.to_secret().reveal())


def knock(orders: dict) -> None:
    """Dials with credentials that a `Client` would refuse by itself: the server has the last word."""
    now = datetime.fromisoformat(orders["now"]) if "now" in orders else None
    made = secagg.Credentials.load(orders["credentials"], now)
    trusted = Authority.from_pem(Path(orders["trusts"]).read_bytes())
    identity: Identity = made.identity
    credentials = secagg.Credentials(identity, trusted, made.certificate, made._key)
    with Connection(orders["address"], credentials, library_version="0", give_up_after=20.0) as connection:
        while (frame := connection.next()) is not None:
            say(frame=type(frame).__name__)


PARTS = {"server": serve, "client": take_part, "knock": knock}


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    orders = json.loads(sys.argv[1])
    sys.modules.update(dict.fromkeys(orders.get("without", ())))  # type: ignore[arg-type]
    try:
        PARTS[orders["part"]](orders)
    except SecaggError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
