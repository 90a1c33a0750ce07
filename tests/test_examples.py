"""The examples run as their pages say: real processes, real certificates, and the outcome they promise."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import dropwhile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

EXAMPLES = Path(__file__).parents[1] / "examples"
ENVIRONMENT = {
    **os.environ,
    "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
    "OMP_NUM_THREADS": "1",
}
SECONDS = 60


def shell_blocks(page: Path) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)


def make_certificates(folder: Path, names: Sequence[str]) -> None:
    """With the commands of the quick start's page, for these hospitals in place of its own."""
    commands = shell_blocks(EXAMPLES / "quickstart" / "README.md")[0]
    assert "hospital-1 hospital-2 hospital-3" in commands
    commands = commands.replace("hospital-1 hospital-2 hospital-3", " ".join(names))
    subprocess.run(
        ["bash", "-euc", commands],
        check=True,
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        timeout=SECONDS,
    )


@contextmanager
def running(folder: Path, *command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A program of the example; it is gone when this is left."""
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**ENVIRONMENT, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def said_by(process: subprocess.Popen[str]) -> str:
    """The rest of what a program says, which must end well."""
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    return said


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_the_quick_start_runs_with_three_hospitals(tmp_path):
    folder = shutil.copytree(EXAMPLES / "quickstart", tmp_path / "quickstart")
    names = ["hospital-1", "hospital-2", "hospital-3"]
    make_certificates(folder, names)
    with ExitStack() as stack:
        server = stack.enter_context(running(folder, "server.py", "localhost:0"))
        address = first_line(server).removeprefix("listening on ").strip()
        clients = [stack.enter_context(running(folder, "client.py", name, address)) for name in names]
        accuracies = [int(re.search(r"right about (\d+)%", said_by(client))[1]) for client in clients]
        *rounds, last = said_by(server).splitlines()
    assert all(accuracy >= 80 for accuracy in accuracies)
    losses = [float(re.search(r"3 hospitals, mean loss ([\d.]+)", line)[1]) for line in rounds]
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    checkpoints = folder / re.search(r"the model is in (\S+)", last)[1]
    assert (checkpoints / "round-0010.safetensors").is_file()


def test_the_quick_start_is_short_and_its_page_names_its_programs():
    folder = EXAMPLES / "quickstart"
    lines = sum(len((folder / name).read_text().splitlines()) for name in ("server.py", "client.py"))
    assert lines < 80
    _, server, clients = shell_blocks(folder / "README.md")
    assert server.split() == ["python", "server.py"]
    assert clients.split("\n")[0].split() == ["python", "client.py", "hospital-1"]


def test_the_hospitals_sum_their_moments_and_train_in_processes_of_their_own(tmp_path):
    folder = shutil.copytree(EXAMPLES / "hospitals", tmp_path / "hospitals")
    names = [f"hospital-{number}" for number in range(1, 6)]
    make_certificates(folder, names)
    with ExitStack() as stack:
        server = stack.enter_context(running(folder, "aggregator.py", "localhost:0", "localhost:0"))
        addresses = first_line(server).removeprefix("listening on ").split()
        clients = [stack.enter_context(running(folder, "hospital.py", name, *addresses)) for name in names]
        accuracies = [float(re.search(r"right about ([\d.]+)%", said_by(client))[1]) for client in clients]
        moments, training = said_by(server).splitlines()
    assert moments == "moments.toml: a sum over 5 hospitals in round 1 of 1"
    assert training == "training.toml: a sum over 5 hospitals in round 10 of 10"
    assert min(accuracies) > 90


def test_securely_summed_moments_are_as_good_as_pooled_ones():
    done = subprocess.run(
        [sys.executable, "compare.py"],
        check=True,
        capture_output=True,
        text=True,
        cwd=EXAMPLES / "hospitals",
        env={**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=SECONDS,
    )
    found = json.loads(done.stdout)
    assert found["largest_relative_error_of_a_deviation"] < 1e-3
    assert abs(found["federated"] - found["pooled"]) < 0.01
    assert found["federated"] - found["federated_each_standardised_alone"] > 0.03


def played(program: Path, folder: Path, *options: str) -> str:
    """What a program that runs in one process says; it must end well."""
    done = subprocess.run(
        [sys.executable, str(program), *options],
        check=True,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=SECONDS,
    )
    return done.stdout


def test_private_digits_are_learned_at_the_epsilon_that_the_report_tells(tmp_path):
    said = played(EXAMPLES / "private_digits" / "compare.py", tmp_path, "--rounds", "4", "--epsilon", "8")
    rows = re.findall(r"^ +(\d+) +([\d.]+)% +([\d.]+)%$", said, re.MULTILINE)
    assert [int(round) for round, _, _ in rows] == [1, 2, 3, 4]
    plain, private = (float(accuracy) for accuracy in rows[-1][1:])
    assert plain > 75
    assert 40 < private < plain + 5
    report = tmp_path / re.search(r"The report: (\S+)", said)[1]
    assert report.is_file()
    (account,) = json.loads(report.with_name("privacy.json").read_text())["units"]
    assert account["unit"] == "example"
    assert account["epsilon"]["colluders"]["epsilon"] == 8.0


def test_three_lines_make_an_ordinary_loop_private():
    program = (EXAMPLES / "private_digits" / "hospital.py").read_text()
    changed = [line.strip() for line in program.splitlines() if "secagg.torch." in line]
    assert len(changed) == 3
    assert "\n".join(changed) in (EXAMPLES / "private_digits" / "README.md").read_text()
    assert "secagg" not in program[program.index("def fit(") : program.index("def trainer(")]


def test_the_budget_of_a_few_clients_is_drawn_and_kept(tmp_path):
    said = played(
        EXAMPLES / "dp_budget" / "budget.py",
        tmp_path,
        *("--clients", "30", "--rounds", "2", "--seeds", "2", "--epsilons", "2,50", "--out", "drawn"),
    )
    table = {row[0]: row[1:] for row in map(str.split, said.splitlines()) if row}
    rows = {epsilon: row[-2:] for epsilon, row in table.items()}
    for epsilon in ("2", "50"):
        server, colluders = map(float, rows[epsilon])
        assert 0.9 * float(epsilon) < server < colluders <= float(epsilon)
    assert rows["none"] == ["-", "-"]
    picture = ElementTree.fromstring((tmp_path / "drawn" / "budget.svg").read_text())
    different_points = {
        (epsilon, share.strip(",")) for epsilon in ("2", "50") for share in table[epsilon][2:4]
    }
    points_and_their_legend = picture.findall("{http://www.w3.org/2000/svg}circle")
    assert len(points_and_their_legend) == len(different_points) + 1
    page = (tmp_path / "drawn" / "budget.html").read_text()
    assert "no sum was masked" in page
    assert not re.search(r"(src|href)=|url\(", page)


def test_over_ciphertexts_only_who_holds_the_key_is_asked_again_and_the_models_are_those_under_masks(
    tmp_path,
):
    said = played(EXAMPLES / "weather_stations" / "compare.py", tmp_path)
    rounds = re.findall(r"^ +(\d+)  (.+?)   (\d) of 6; under masks (\d)$", said, re.MULTILINE)
    assert [int(number) for number, *_ in rounds] == list(range(1, 9))
    for _, holders, again, under_masks in rounds:
        assert len(set(holders.split(", "))) == int(again) == 3
        assert int(under_masks) == 6
    assert "to the bit: yes" in said
    common, single = map(float, re.search(r"([\d.]+) degrees off; .* ([\d.]+)\n", said).groups())
    assert common < 0.9 * single
    assert "together with any one who held a round's key could open every update" in said


def commands_of(page: Path, at: int) -> list[list[str]]:
    """The commands of a page's block, as arguments of this Python; variables before them are left out."""
    programs = {"python": [], "secagg": ["-m", "secagg"]}
    commands = []
    for line in shell_blocks(page)[at].replace("\\\n", " ").splitlines():
        program, *rest = dropwhile(lambda word: "=" in word, shlex.split(line))
        commands.append([*programs[program], *rest])
    return commands


def test_weather_stations_run_with_the_commands_of_their_page_and_none_without_its_floor(tmp_path):
    folder = shutil.copytree(EXAMPLES / "weather_stations", tmp_path / "weather_stations")
    names = [f"station-{number}" for number in range(1, 7)]
    make_certificates(folder, names)
    first_model, serve = commands_of(folder / "README.md", 0)
    [station] = commands_of(folder / "README.md", 1)
    with ExitStack() as stack:
        with running(folder, *first_model) as writing:
            said_by(writing)
        server = stack.enter_context(running(folder, *(word.replace("8443", "0") for word in serve)))
        address = re.search(r"listens on (\S+);", first_line(server))[1]
        assert "the server together with any one of the 3 decryptors" in first_line(server)

        def join(name: str, *more: str) -> subprocess.Popen[str]:
            command = [word.replace("localhost:8443", address).replace("station-1", name) for word in station]
            return stack.enter_context(running(folder, *command, *more, STATION=name))

        (folder / "default.toml").write_text("min_survivors = 4\n")
        refusing = join("station-1", "--floor", "default.toml")
        refusing.communicate(timeout=SECONDS)
        assert refusing.returncode == 4
        clients = [join(name) for name in names]
        assert all("the run is over after 8 rounds" in said_by(client) for client in clients)
        run = folder / re.search(r"final model is (\S+)/checkpoints/", said_by(server))[1]
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    held = {event["round"]: event["clients"] for event in events if event["event"] == "keys-held"}
    assert set(held) == set(range(1, 9))
    assert all(len(holders) == 3 and set(holders) <= set(names) for holders in held.values())


def test_the_floor_on_the_page_of_the_weather_stations_is_the_one_in_their_folder():
    folder = EXAMPLES / "weather_stations"
    (shown,) = re.findall(r"```toml\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert (folder / "floor.toml").read_text().endswith(shown)


def attacked(at: int, *more: str) -> tuple[dict[tuple[str, str], dict[str, Any]], str]:
    """The cells of the table that a command of the page makes, by (defence, attack), and what it is about."""
    (command,) = commands_of(EXAMPLES / "own_target" / "README.md", at)
    done = subprocess.run(
        [sys.executable, *command, "--json", *more],
        check=True,
        capture_output=True,
        text=True,
        cwd=EXAMPLES / "own_target",
        env={**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"},
        timeout=2 * SECONDS,
    )
    document = json.loads(done.stdout)
    cells = {(cell["defence"], cell["attack"]): cell for cell in document["findings"]}
    return cells, document["about"]


HIDDEN = ("at chance", "not shown")
"""Masks are drawn anew each time: of a hundred readings one is above chance by luck, and shows nothing."""


def columns(*attacks: str) -> list[str]:
    """Options that leave out the long searches which find nothing in these networks."""
    return [word for attack in attacks for word in ("--attack", attack)]


def test_every_attack_on_membership_runs_on_a_table_of_ones_own():
    cells, about = attacked(0)
    assert about.startswith("breast masses: tabular data, 160 members")
    assert {defence for defence, _ in cells} == {"none", "masks", "masks-client-8"}
    assert {cell["status"] for cell in cells.values()} == {"measured"}
    assert {attack for _, attack in cells} >= {"loss-sum", "calibrated-sum", "lira-upload", "rmia-upload"}
    for leaks in ("cosine-upload", "lira-upload"):
        assert cells["none", leaks]["verdict"] == "leaks"
        assert cells["masks", leaks]["verdict"] in HIDDEN
    assert cells["none", "rmia-upload"]["verdict"] == "partial"
    assert cells["masks", "rmia-upload"]["verdict"] == "not shown"
    for attack in ("lira-offline-sum", "cosine-sum"):
        assert {cells[row, attack]["verdict"] for row in ("none", "masks")} == {"partial"}


def test_inversion_reads_rows_of_a_table_and_says_what_does_not_apply():
    cells, _ = attacked(1, *columns("analytic", "idlg", "differencing", "traps", "cocktail", "two-models"))
    ruled_out = {attack for (_, attack), cell in cells.items() if cell["verdict"] == "not applicable"}
    assert ruled_out == {"cocktail"}
    assert "no images" in cells["none", "cocktail"]["notes"][0]
    for attack in ("analytic", "idlg"):
        assert cells["none", attack]["verdict"] == "leaks"
        assert cells["masks", attack]["verdict"] in HIDDEN
    for attack in ("differencing", "traps"):
        assert {cells[row, attack]["verdict"] for row in ("none", "masks")} == {"leaks"}


def test_a_target_without_fit_is_attacked_by_all_but_what_its_network_rules_out():
    kinds = ("analytic", "inverting", "idlg", "differencing", "traps", "sratta", "cocktail", "two-models")
    cells, _ = attacked(2, *columns(*kinds))
    ruled_out = {attack for (_, attack), cell in cells.items() if cell["verdict"] == "not applicable"}
    assert ruled_out == {"analytic", "differencing", "sratta", "cocktail", "two-models"}
    assert "analytic-needs-linear" in cells["none", "analytic"]["notes"][0]
    assert cells["none", "idlg"]["verdict"] == "leaks"
    assert cells["masks", "idlg"]["verdict"] in HIDDEN
    assert cells["none", "inverting"]["verdict"] == "not shown"
