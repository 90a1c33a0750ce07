"""`secagg server` and `secagg client` as a person runs them: real processes, terminals and signals."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

SOON = 40.0
SERVER = ["server", "plan.toml", "--weights", "init.safetensors", "--credentials", "certs/aggregator"]


class Command:
    """A `secagg` process and what it has said so far, on a terminal of its own or on pipes."""

    def __init__(self, *arguments, terminal=False):
        self.stdout = ""
        self._changed = threading.Condition()
        command = [sys.executable, "-m", "secagg", *map(str, arguments)]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        if terminal:
            source, stream = pty.openpty()
            self._process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
            os.close(stream)
        else:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
            )
            source = os.dup(self._process.stdout.fileno())
            self._process.stdout.close()
        self._reader = threading.Thread(target=self._read, args=(source,), daemon=True)
        self._reader.start()

    def _read(self, source):
        while True:
            try:
                data = os.read(source, 1 << 16)
            except OSError:  # a terminal whose last process is gone
                data = b""
            with self._changed:
                self.stdout += data.decode()
                self._changed.notify_all()
            if not data:
                os.close(source)
                return

    def expect(self, pattern):
        """Waits until it has said this."""
        with self._changed:
            assert self._changed.wait_for(lambda: re.search(pattern, self.stdout), SOON), self.stdout
            return re.search(pattern, self.stdout)

    def signal(self, number):
        self._process.send_signal(number)
        return self

    def ends(self):
        """Its exit code; all it said is in `stdout` and `stderr`."""
        self.stderr = "" if self._process.stderr is None else self._process.stderr.read().decode()
        code = self._process.wait(SOON)
        self._reader.join(SOON)
        return code

    def kill(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


@pytest.fixture
def start(here):
    commands = []

    def started(*arguments, terminal=False):
        commands.append(Command(*arguments, terminal=terminal))
        return commands[-1]

    yield started
    for command in commands:
        command.kill()


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def a_client(number, address, *more):
    """Options that come later count: `more` may change any of these."""
    return [
        *("client", "lines:train", "--server", address, "--state", f"state/hospital-{number}"),
        *("--credentials", f"certs/hospital-{number}", *more),
    ]


def test_three_clients_and_a_server_play_a_run_on_terminals_and_pipes(start, here):
    server = start(*SERVER, "--listen", "127.0.0.1:0", "--evaluate", "lines:evaluate", terminal=True)
    address = server.expect(r"listens on (127\.0\.0\.1:\d+)")[1]
    seen = start(*a_client(0, address, "--out", "final.safetensors"), terminal=True)
    quiet = start(*a_client(1, address))
    machine = start(*a_client(2, address, "--json"))
    assert [one.ends() for one in (server, seen, quiet, machine)] == [0, 0, 0, 0], server.stdout + seen.stdout

    assert "rounds" in server.stdout  # the bar
    assert "2/2" in server.stdout
    assert "'hospital-0' is here" in server.stdout
    assert re.search(
        r"round 2 of 2: 3 of 3 clients in the sum, loss 0\.1235; evaluation: distance", server.stdout
    )
    model = here / re.search(r"final model is\s+(\S+\.safetensors)", server.stdout)[1]

    assert "here loss 0.1235" in seen.stdout
    assert np.array_equal(load_file(model)["w"], load_file(here / "final.safetensors")["w"])

    assert "0.1235" not in quiet.stdout + quiet.stderr  # a client's own metric is for its own terminal
    assert "round 2 of 2: trained in" in quiet.stdout
    assert "the final model is not kept" in quiet.stdout
    assert "joined the run 'line'" in quiet.stderr
    assert "\x1b" not in quiet.stdout + quiet.stderr

    events = [json.loads(line) for line in machine.stdout.splitlines()]
    assert [one["event"] for one in events] == ["dialling", *["training", "round"] * 2, "finished"]
    assert "0.12" not in machine.stdout


def test_a_server_and_its_clients_say_who_can_open_what_under_ciphertexts(start, here):
    server = start("server", "ciphers.toml", *SERVER[2:], "--listen", "127.0.0.1:0", "--json")
    server.expect('"waiting"')
    listening, limit, _ = map(json.loads, server.stdout.splitlines())
    assert (limit["event"], limit["protection"]) == ("who-can-open", "bfv")
    together, lying = limit["who_can_open"]
    assert "the server together with any one of the 3 decryptors: every client's update" in together
    assert "a server that lies about what it added: any update" in lying and "nobody notices" in lying
    (here / "floor.toml").write_text('protections = ["bfv"]\nadversary = ["semi-honest"]\n')
    clients = [start(*a_client(n, listening["address"], "--floor", "floor.toml")) for n in range(3)]
    assert [client.ends() for client in clients] == [0, 0, 0]
    assert server.ends() == 0
    for client in clients:
        assert "the server together with any one of the 3 decryptors" in client.stderr


def test_a_stopped_server_says_what_it_keeps_and_the_floor_of_a_client_refuses_with_4(start, here):
    server = start(*SERVER, "--listen", "127.0.0.1:0", "--json")
    server.expect('"waiting"')
    listening = json.loads(server.stdout.splitlines()[0])
    (here / "floor.toml").write_text("min_survivors = 4\n")
    refusing = start(*a_client(0, listening["address"], "--floor", "floor.toml", "--json"))
    assert refusing.ends() == 4
    assert json.loads(refusing.stdout.splitlines()[-1])["error"] == "floor-survivors"

    again = start(*SERVER, "--listen", listening["address"], "--fresh")
    assert again.ends() == 1
    assert "[listen-failed]" in again.stderr
    assert "Traceback" not in again.stderr

    assert server.signal(signal.SIGINT).ends() == 130
    error = json.loads(server.stdout.splitlines()[-1])
    assert error["error"] == "interrupted"
    assert listening["run_dir"] in error["message"]
    assert "Traceback" not in server.stderr


def test_a_client_waits_for_its_server_and_says_so_until_it_gives_up_or_is_stopped(start, here, free_port):
    address = f"127.0.0.1:{free_port}"
    patient = start(*a_client(0, address), terminal=True)
    hasty = start(*a_client(1, address, "--give-up-after", "500ms"))
    patient.expect("cannot be reached: connection refused; trying again")
    assert patient.signal(signal.SIGTERM).ends() == 143
    assert "the same command joins again" in patient.stdout
    assert "Traceback" not in patient.stdout
    assert hasty.ends() == 75
    assert "[unreachable]" in hasty.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([*SERVER[:-1], "certs/hospital-0"], 2, "enrolled as a client and was used as a server"),
        ([*SERVER[:-1], "nowhere"], 2, "[credentials-missing]"),
        ([*SERVER, "--listen", "here"], 2, "[listen-malformed]"),
        ([*SERVER, "--run", "nowhere"], 1, "[run-missing]"),
        ([*SERVER, "--run", "x", "--fresh"], 2, "give one of them"),
        ([*SERVER, "--aggregate", "lines:nothing"], 2, "[function-missing]"),
        (
            a_client(0, "localhost:1", "--credentials", "certs/aggregator"),
            2,
            "enrolled as a server and was used as a client",
        ),
        (a_client(0, "localhost"), 2, "[target-malformed]"),
        (a_client(0, "localhost:1", "--give-up-after", "10"), 2, "with units"),
        (a_client(0, "localhost:1", "--floor", "plan.toml"), 2, "plan.toml has"),
        (a_client(0, "localhost:1", "--out", "nowhere/model"), 2, "'nowhere' is not there"),
    ],
)
def test_what_is_asked_wrong_is_said_at_once(secagg, here, arguments, code, said):
    done = secagg(*arguments)
    assert done.exit_code == code, done.output
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_too_few_clients_is_try_again_later_and_the_run_goes_on(secagg, here):
    (here / "plan.toml").write_text(
        (here / "plan.toml").read_text().replace('join_deadline = "20s"', 'join_deadline = "50ms"')
    )
    first = secagg(*SERVER, "--listen", "127.0.0.1:0", "--json")
    again = secagg(*SERVER, "--listen", "127.0.0.1:0", "--json")
    fresh = secagg(*SERVER, "--listen", "127.0.0.1:0", "--json", "--fresh")
    assert [one.exit_code for one in (first, again, fresh)] == [75, 75, 75]
    where = [json.loads(one.stdout.splitlines()[0])["run_dir"] for one in (first, again, fresh)]
    assert where[0] == where[1] != where[2]
    assert all(Path(path, "run.json").is_file() for path in where)


def test_a_run_whose_clients_never_train_ends_as_failed(start, here):
    server = start(*SERVER, "--listen", "127.0.0.1:0")
    address = server.expect(r"listens on (127\.0\.0\.1:\d+)")[1]
    clients = [start("client", "lines:failing", *a_client(number, address)[2:]) for number in range(3)]
    assert server.ends() == 1
    assert [client.ends() for client in clients] == [1, 1, 1]
    assert all("[run-without-sum]" in client.stderr for client in clients)
    assert "round 2 of 2: no new model: too few clients finished training in time" in server.stdout
    assert "[run-without-sum]" in server.stderr
    assert "stage train: 'hospital-0' refused (update-refused)" in server.stderr
    assert "no scanner" not in server.stdout + server.stderr
    assert "no scanner today" in clients[0].stderr


def private_server(start, plan):
    server = start(SERVER[0], plan, *SERVER[2:], "--listen", "127.0.0.1:0")
    return server, server.expect(r"listens on (127\.0\.0\.1:\d+)")[1]


def test_a_budget_that_is_used_up_ends_the_server_with_3_and_its_model_goes_home(start, here):
    server, address = private_server(start, "budget.toml")
    clients = [start(*a_client(n, address, "--out", f"final-{n}.safetensors")) for n in range(3)]
    assert server.ends() == 3, server.stderr
    assert [client.ends() for client in clients] == [0, 0, 0]
    assert (
        "[budget-exhausted]: round 2 would cost more than is left of the plan's epsilon, 1" in server.stderr
    )
    assert "the model of round 1 is kept" in server.stderr
    words = re.search(r"used up after round 1 of 2; the model is (\S+\.safetensors)", server.stdout)
    assert all(
        np.array_equal(load_file(words[1])["w"], load_file(here / f"final-{n}.safetensors")["w"])
        for n in range(3)
    )
    assert all("the run is over after 1 round;" in client.stdout for client in clients)
    assert all("epsilon 0.688 at delta 0.001 for one client" in client.stdout for client in clients)


def test_under_a_unit_both_sides_say_at_the_end_what_it_cost(start, here):
    server, address = private_server(start, "private.toml")
    clients = [start(*a_client(n, address)) for n in range(3)]
    assert server.ends() == 0, server.stderr
    assert [client.ends() for client in clients] == [0, 0, 0]
    against = "against the server and the colluders that the plan tolerates"
    cost = f"epsilon 1.03 at delta 0.001 for one client, {against}"
    assert all(cost in one.stdout for one in (server, *clients))


def test_a_client_whose_own_budget_is_used_up_ends_with_4_and_the_round_goes_on_without_it(start, here):
    """One round's epsilon is within its floor, two rounds' is not; it is 4 that says: do not restart."""
    (here / "floor.toml").write_text("max_epsilon = 1.0\nmax_delta = 0.001\n")
    server, address = private_server(start, "private.toml")
    clients = [start(*a_client(n, address, "--floor", "floor.toml")) for n in range(3)]
    assert [client.ends() for client in clients] == [4, 4, 4], clients[0].stderr
    assert all("[floor-epsilon]" in client.stderr for client in clients)
    assert server.ends() == 0, server.stderr
    assert "round 1 of 2: 3 of 3 clients in the sum" in server.stdout
    assert "round 2 of 2: no new model" in server.stdout


def test_two_processes_cannot_share_one_state(start, here, free_port):
    address = f"127.0.0.1:{free_port}"
    start(*a_client(0, address), terminal=True).expect("cannot be reached")
    second = start(*a_client(0, address))
    assert second.ends() == 2
    assert "[state-locked]" in second.stderr
