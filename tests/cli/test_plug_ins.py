"""Commands that other packages bring: listed at once, loaded when called, and missed with a way out."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from secagg.cli.group import PLUGINS, LazyGroup, PlugIn

NEEDS = "import a_library_that_is_nowhere\n"
GREETS = """
import click

@click.group()
def greet():
    pass

@greet.command()
@click.option("--json", "as_json", is_flag=True)
def hello(as_json):
    click.echo("hello")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes a distribution whose entry point `greet` is a function of a module with this source."""

    def installed(source: str, attribute: str = "greet") -> None:
        information = tmp_path / "greeting-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[{PLUGINS}]\ngreet = greeting_plug_in:{attribute}\n")
        (tmp_path / "greeting_plug_in.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))

    yield installed
    sys.modules.pop("greeting_plug_in", None)


def call(*arguments: str):
    group = LazyGroup("secagg", lazy=[PlugIn("greet", "Says hello.", "greetings")])
    return CliRunner().invoke(group, list(arguments))


def test_an_installed_plug_in_is_called(install):
    install(GREETS)
    done = call("greet", "hello")
    assert (done.exit_code, done.stdout) == (0, "hello\n")


@pytest.mark.parametrize("arguments", [["greet"], ["greet", "hello"], ["greet", "hello", "--seed", "3"]])
def test_one_that_is_absent_is_listed_and_ends_with_the_command_that_installs_it(arguments):
    assert "greet" in call("--help").stdout
    done = call(*arguments)
    assert done.exit_code == 2
    assert "error [extra-missing]" in done.stderr
    assert "pip install 'secagg[greetings]'" in done.stderr


def test_one_whose_library_is_absent_names_the_library(install):
    install(NEEDS + GREETS)
    done = call("greet", "hello")
    assert done.exit_code == 2
    assert "this needs a_library_that_is_nowhere" in done.stderr
    assert "pip install 'secagg[greetings]'" in done.stderr


def test_its_help_says_how_to_install_it():
    done = call("greet", "--help")
    assert done.exit_code == 0
    assert "pip install 'secagg[greetings]'" in " ".join(done.stdout.split())


def test_with_json_its_absence_is_one_object():
    done = call("greet", "hello", "--json")
    error = json.loads(done.stdout)
    assert (done.exit_code, error["error"]) == (2, "extra-missing")


def test_what_is_no_command_is_a_fault_and_not_hidden(install):
    install("greet = 3\n")
    assert isinstance(call("greet").exception, TypeError)


def test_listing_the_commands_loads_no_plug_in(tmp_path):
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from secagg.cli import main\n"
        "shown = CliRunner().invoke(main, ['--help']).stdout\n"
        "print('  attack ' in shown, 'secagg_attacks' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.split() == ["True", "False", "False"]


def test_a_command_in_place_of_an_absent_one_is_a_click_command():
    assert isinstance(PlugIn("greet", "Says hello.", "greetings").load(), click.Command)
