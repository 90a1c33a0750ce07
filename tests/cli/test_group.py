"""The command as a whole: what it loads, how it lists its commands, how it says what went wrong."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from secagg.cli import _COMMANDS, main
from secagg.cli.group import Lazy, LazyGroup
from secagg.cli.interrupts import Stopped, stoppable
from secagg.coordinator import NotEnoughClients
from secagg.errors import FloorError, SecaggError
from secagg.report import BeatenAccountError

DOCS = Path(__file__).parents[2] / "docs"
ENVIRONMENT = DOCS / "environment.md"


def a_group(raised):
    """A group with one command, which raises."""

    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def broken(as_json):
        raise raised

    sys.modules["tests.cli.broken_command"] = type(sys)("broken_command")
    sys.modules["tests.cli.broken_command"].broken = broken
    return LazyGroup("secagg", lazy=[Lazy("broken", "tests.cli.broken_command", "")])


def options(command, path=()):
    """Every option that the environment can give: (variable, option as it is typed)."""
    for option in command.params:
        if isinstance(option, click.Option) and option.allow_from_autoenv:
            typed = " ".join(["secagg", *path, max(option.opts, key=len)])
            yield "_".join(["SECAGG", *path, option.name]).upper().replace("-", "_"), typed
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from options(command.get_command(context, name), (*path, name))


def test_help_and_version_load_no_command():
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from secagg.cli import main\n"
        "for flag in ('--help', '--version'):\n"
        "    assert CliRunner().invoke(main, [flag]).exit_code == 0\n"
        "print(*(name for name in ('grpc', 'sklearn', 'numpy', 'pydantic', 'cryptography', 'rich')"
        " if name in sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert loaded.split() == []


def test_it_runs_as_a_module_too():
    done = subprocess.run([sys.executable, "-m", "secagg", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "secagg,")


@pytest.mark.parametrize("lazy", _COMMANDS, ids=lambda lazy: lazy.name)
def test_every_command_that_is_listed_is_there(lazy, secagg):
    assert isinstance(main.get_command(click.Context(main), lazy.name), click.Command)
    assert f"  {lazy.name} " in secagg("--help").stdout
    assert secagg(lazy.name, "--help").exit_code == 0


def test_an_error_is_a_message_and_a_hint_on_stderr_without_a_traceback(secagg, here):
    done = secagg("certs", "show", "nowhere")
    assert done.exit_code == 2
    assert done.stderr.startswith("error [credentials-missing]: nowhere lacks certificate.pem")
    assert "make the key with" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [["-v", "certs", "show", "nowhere"], ["params", "-v", "--clients", "2"]]
)
def test_verbose_shows_the_traceback_first(secagg, here, arguments):
    done = secagg(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("Traceback")


def test_with_json_an_error_is_one_object_on_stdout(secagg, here):
    done = secagg("certs", "show", "nowhere", "--json")
    assert done.exit_code == 2
    assert done.stderr == ""
    error = json.loads(done.stdout)
    assert error["error"] == "credentials-missing"
    assert error["message"]
    assert error["hint"]


def test_with_json_a_plans_problems_are_listed(secagg, here):
    (here / "plan.toml").write_text('[run]\nname = "x"\n[cohort]\nmax_clients = "many"\n')
    done = secagg(
        "simulate", "plan.toml", "--clients", "lines:three", "--weights", "init.safetensors", "--json"
    )
    problems = json.loads(done.stdout)["problems"]
    assert done.exit_code == 2
    assert {problem["path"] for problem in problems} == {"run.rounds", "cohort.max_clients"}


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["server"], ["params", "--clients", "many"], ["params", "--x"]]
)
def test_a_wrong_command_line_is_exit_code_2_in_words_and_in_json(secagg, arguments):
    assert secagg(*arguments).exit_code == 2
    done = secagg(*arguments, "--json")
    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"] == "usage"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FloorError("floor-survivors", "no"), 4),
        (SecaggError("anything", "no"), 1),
        (SecaggError("listen-malformed", "no"), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_exit_code_is_the_errors(error, code):
    from click.testing import CliRunner

    assert CliRunner().invoke(a_group(error), ["broken"]).exit_code == code
    done = CliRunner().invoke(a_group(error), ["broken", "--json"])
    assert done.exit_code == code
    assert "error" in json.loads(done.stdout)


def exit_codes(text):
    """Code -> its words, of the sentence that lists them."""
    (listed,) = re.findall(r"Exit codes[^:]*: ([^.]+)\.", " ".join(text.split()))
    return dict(re.findall(r"(\d+(?: or \d+)?) (.+?)(?:, (?=\d)|$)", listed))


def kinds_of_error(kind=SecaggError):
    yield kind
    for special in kind.__subclasses__():
        yield from kinds_of_error(special)


def test_the_help_lists_the_exit_codes_that_the_documents_list(secagg):
    listed = exit_codes((DOCS / "errors.md").read_text())
    assert exit_codes(secagg("--help").stdout) == listed
    elsewhere = {NotEnoughClients.exit_code, BeatenAccountError.exit_code}
    possible = {*elsewhere, *(kind.exit_code for kind in kinds_of_error())}
    for end in (signal.SIGINT, signal.SIGTERM):
        with pytest.raises(Stopped) as stopped, stoppable(lambda: "nothing is kept"):
            signal.raise_signal(end)
        possible.add(stopped.value.exit_code)
    assert set(map(int, re.findall(r"\d+", " ".join(listed)))) == {0, *possible}


def test_a_fault_of_ours_keeps_its_traceback():
    from click.testing import CliRunner

    assert isinstance(
        CliRunner().invoke(a_group(ZeroDivisionError()), ["broken"]).exception, ZeroDivisionError
    )


def test_the_table_of_environment_variables_is_complete_and_no_longer_than_that():
    table = re.findall(r"^\| `(SECAGG_\w+)` \| `([^`]+)` \| .+ \|$", ENVIRONMENT.read_text(), re.MULTILINE)
    assert len(table) == len(dict(table))
    assert dict(table) == {name: typed for name, typed in options(main) if not typed.endswith("--help")}


def test_an_option_comes_from_the_environment_and_the_command_line_wins(secagg):
    def clients(*arguments):
        done = secagg("params", "--json", *arguments, env={"SECAGG_PARAMS_CLIENTS": "7"})
        return json.loads(done.stdout)["clients"]

    assert clients() == 7
    assert clients("--clients", "9") == 9


@pytest.mark.parametrize("name", ["SECAGG_VERSION", "SECAGG_PARAMS_AS_JSON", "SECAGG_HELP"])
def test_what_is_a_flag_only_is_not_read_from_the_environment(secagg, name):
    done = secagg("params", "--clients", "5", env={name: "1"})
    assert done.stdout.startswith("cohort")


def test_no_option_takes_a_secret():
    assert not [name for name, _ in options(main) if re.search("KEY|SECRET|PASSWORD|TOKEN", name)]
