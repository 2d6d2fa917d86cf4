import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli import main as main_module
from cli.lab import log_paths
from cli.main import main
from cli.operations import program_names
from lab.errors import LabError
from lab.layout import Layout


def test_help_lists_the_commands():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert {"demo", "explain", "lab"} <= {line.split()[0] for line in result.output.splitlines() if line.startswith("  ") and line.strip()}


def test_help_imports_nothing_heavy():
    code = "import sys; from cli.main import main; main(['--help'], standalone_mode=False); sys.exit('pyroute2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_a_command_whose_module_is_not_there_is_not_listed(monkeypatch):
    monkeypatch.setattr(main_module, "_COMMANDS", {"none": ("cli.not_there", "none", "Nothing.")})
    assert main.list_commands(click.Context(main)) == []
    assert main.get_command(click.Context(main), "none") is None


def test_an_error_that_we_know_is_one_message(monkeypatch):
    monkeypatch.setenv("AMBIENT_LAB", "NOT GOOD")
    result = CliRunner().invoke(main, ["lab", "status"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: AMBIENT_LAB: 'NOT GOOD'")


def test_a_question_that_cannot_be_answered_is_no_refusal(monkeypatch):
    monkeypatch.setenv("AMBIENT_LAB", "NOT GOOD")
    result = CliRunner().invoke(main, ["explain", "client", "web"])
    assert result.exit_code == 2
    assert result.output.startswith("Error: AMBIENT_LAB: 'NOT GOOD'")


@pytest.mark.parametrize(
    "command", ["up", "down", "status", "apply", "delete", "label", "exec", "logs", "stop", "start", "rotate-root", "revoke"]
)
def test_every_command_explains_itself(command: str):
    result = CliRunner().invoke(main, ["lab", command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.fixture
def layout(tmp_path: Path, monkeypatch) -> Layout:
    monkeypatch.setattr("lab.layout.RUN_DIR", tmp_path)
    layout = Layout("test")
    for node in ("node1", "node2"):
        (layout.logs / node).mkdir(parents=True)
        for program in ("ztunnel", "agent"):
            layout.process_log(program, node).touch()
    layout.process_log("controlplane").touch()
    layout.pod_log("shop", "web").parent.mkdir(parents=True)
    layout.pod_log("shop", "web").touch()
    return layout


@pytest.mark.parametrize(
    ("what", "node", "expected"),
    [
        ("ztunnel", None, ["node1/ztunnel.log", "node2/ztunnel.log"]),
        ("agent", "node2", ["node2/agent.log"]),
        ("controlplane", None, ["controlplane.log"]),
        ("web", None, ["pods/shop/web.log"]),
        ("shop/web", None, ["pods/shop/web.log"]),
    ],
)
def test_logs(layout: Layout, what: str, node: str | None, expected: list[str]):
    assert [str(path.relative_to(layout.logs)) for path in log_paths(layout, "shop", what, node)] == expected


@pytest.mark.parametrize(("what", "node"), [("ztunnel", "node9"), ("nobody", None)])
def test_logs_that_are_not_there(layout: Layout, what: str, node: str | None):
    with pytest.raises(LabError, match="controlplane, node1/agent, node1/ztunnel"):
        log_paths(layout, "shop", what, node)


@pytest.mark.parametrize("arguments", [[], ["pod"], ["pod", "a", "-f", "-"]])
def test_what_to_delete_is_said_in_one_way(arguments: list[str]):
    result = CliRunner().invoke(main, ["lab", "delete", *arguments])
    assert result.exit_code == 2
    assert "expected -f FILE, or KIND NAME" in result.output


STATUS: dict[str, object] = {"programs": {"controlplane": True, "agent of node1": True, "ztunnel of node1": True, "ztunnel of node2": True}}


@pytest.mark.parametrize(
    ("program", "node", "names"),
    [
        ("controlplane", None, ["controlplane"]),
        ("ztunnel", None, ["ztunnel of node1", "ztunnel of node2"]),
        ("ztunnel", "node2", ["ztunnel of node2"]),
    ],
)
def test_programs_by_the_names_that_people_type(program: str, node: str | None, names: list[str]):
    assert program_names(STATUS, program, node) == names


def test_programs_that_are_not_there():
    with pytest.raises(LabError, match="no program agent of node2; there are: controlplane, agent of node1"):
        program_names(STATUS, "agent", "node2")
