"""`secagg certs` as a person and as a machine use it."""

import json
import os
import stat

import pytest
from click.testing import CliRunner

from secagg.cli.certs import certs
from secagg.credentials import Credentials
from secagg.errors import CredentialsError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(certs, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def told(*arguments):
    """What `--json` says: one object, nothing else on stdout."""
    return json.loads(run(*arguments, "--json").stdout)


def refused(*arguments):
    with pytest.raises(CredentialsError) as caught:
        run(*arguments)
    assert caught.value.exit_code == 2
    return caught.value.code


def enrolled(name="hospital-1", role="client", *more):
    run("request", name, "--role", role, *more)
    run("issue", f"certs/{name}/request.pem")


def test_the_four_commands_take_a_participant_from_nothing_to_credentials(here):
    assert "authority-key.pem" in run("init").stdout
    assert "key fingerprint" in run("request", "hospital-1", "--role", "client").stdout
    assert "hospital-1" in run("issue", "certs/hospital-1/request.pem").stdout
    shown = run("show", "certs/hospital-1").stdout
    credentials = Credentials.load(here / "certs" / "hospital-1")
    for part in ("hospital-1", "client", credentials.identity.fingerprint, credentials.authority.fingerprint):
        assert part in shown


def test_each_command_speaks_json(here):
    made = told("init", "--name", "consortium", "--days", 100)
    assert (made["name"], made["role"]) == ("consortium", "authority")
    asked = told("request", "hospital-1", "--role", "client")
    issued = told("issue", "certs/hospital-1/request.pem", "--days", 50)
    shown = told("show", "certs/hospital-1")
    assert asked["key_fingerprint"] == issued["key_fingerprint"] == shown["key_fingerprint"]
    assert issued["fingerprint"] == shown["fingerprint"]
    assert shown["authority_fingerprint"] == made["fingerprint"]
    assert {key: shown[key] for key in ("name", "role", "hosts", "authority", "warnings")} == {
        "name": "hospital-1",
        "role": "client",
        "hosts": [],
        "authority": "consortium",
        "warnings": [],
    }
    assert shown["valid_from"] < shown["valid_until"] < made["valid_until"]


def test_no_command_prints_a_key(here):
    run("init")
    outputs = [run("request", "h1", "--role", "client").output, run("issue", "certs/h1/request.pem").output]
    outputs += [run("show", "certs/h1", *flags).output for flags in ([], ["--json"])]
    secret = (here / "certs" / "h1" / "key.pem").read_text().splitlines()
    assert not [line for line in secret for output in outputs if line in output]


def test_a_server_gets_the_loopback_or_the_hosts_it_names():
    run("init")
    assert told("request", "a", "--role", "server")["hosts"] == ["localhost", "127.0.0.1", "::1"]
    asked = told("request", "b", "--role", "server", "--host", "b.example", "--host", "10.0.0.1")
    assert asked["hosts"] == ["b.example", "10.0.0.1"]
    assert told("issue", "certs/b/request.pem")["hosts"] == ["b.example", "10.0.0.1"]


def test_the_authoritys_own_folder_is_shown():
    made = told("init")
    shown = told("show", "certs/authority")
    assert shown == {key: made[key] for key in shown}
    assert shown["role"] == "authority"


def test_the_present_folder_is_shown_by_default(here, monkeypatch):
    run("init")
    enrolled()
    monkeypatch.chdir(here / "certs" / "hospital-1")
    assert told("show")["name"] == "hospital-1"


def test_an_authority_key_beside_the_servers_is_a_warning_on_stderr():
    run("init")
    enrolled("aggregator", "server")
    result = run("show", "certs/aggregator")
    assert "warning: an authority's private key lies beside the server's" in result.stderr
    assert "warning" not in result.stdout
    assert len(told("show", "certs/aggregator")["warnings"]) == 1


def test_a_certificate_near_its_end_is_a_warning():
    run("init")
    run("request", "h1", "--role", "client")
    run("issue", "certs/h1/request.pem", "--days", 3)
    assert "expires on" in run("show", "certs/h1").stderr


def test_a_pinned_role_refuses_a_request_for_the_other(here):
    run("init")
    run("request", "h1", "--role", "server")
    assert refused("issue", "certs/h1/request.pem", "--role", "client") == "certificate-role"
    assert not (here / "certs" / "h1" / "certificate.pem").exists()


def test_nothing_is_overwritten_but_a_certificate_that_is_renewed():
    run("init")
    assert refused("init") == "authority-exists"
    enrolled()
    assert refused("request", "hospital-1", "--role", "client") == "key-exists"
    assert refused("issue", "certs/hospital-1/request.pem") == "certificate-exists"
    before = told("show", "certs/hospital-1")
    run("issue", "certs/hospital-1/request.pem", "--renew")
    after = told("show", "certs/hospital-1")
    assert before["fingerprint"] != after["fingerprint"]
    assert before["key_fingerprint"] == after["key_fingerprint"]


def test_certificates_may_be_written_elsewhere_and_folders_chosen(here):
    run("init", "--folder", "safe")
    run("request", "h1", "--role", "client", "--folder", "mine")
    run("issue", "mine/request.pem", "--authority", "safe", "--out", "post")
    assert sorted(path.name for path in (here / "post").iterdir()) == ["authority.pem", "certificate.pem"]


def test_keys_are_made_for_their_owner_alone_under_any_umask(here):
    before = os.umask(0)
    try:
        run("init")
        run("request", "h1", "--role", "client")
    finally:
        os.umask(before)
    for key in ("certs/authority/authority-key.pem", "certs/h1/key.pem"):
        assert stat.S_IMODE((here / key).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["../evil", "a b", ".hidden", "a/b", "x" * 65])
def test_a_bad_name_makes_nothing(here, name):
    assert refused("request", name, "--role", "client") == "certificate-name"
    assert list(here.iterdir()) == []


def test_what_is_missing_is_named():
    assert refused("show", "nowhere") == "credentials-missing"
    assert refused("issue", "nowhere/request.pem") == "credentials-missing"


@pytest.mark.parametrize(
    "arguments",
    [
        ["request", "h1", "--role", "authority"],
        ["issue", "r.pem", "--days", "0"],
        ["issue", "r.pem", "--days", "many"],
        ["init", "--days", "99999999"],
        ["request"],
    ],
)
def test_a_wrong_command_line_is_a_usage_error(arguments):
    assert CliRunner().invoke(certs, arguments).exit_code == 2
