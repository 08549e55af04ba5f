"""The shared command line: every way to write an option, help, statuses, one-line errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kojuto.common import cli, helptext, parser, streams, units
from kojuto.common.cli import Command, Option
from kojuto.errors import KojutoError, UsageError
from tests.conftest import run

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = "mackerel-plugin-axslog"
COMMAND = Command(
    "probe",
    "Probes.",
    [
        Option("--key-prefix", metavar="NAME", help="a name"),
        Option("-s", "--size", metavar="SIZE", read=units.size, default="5", help="a size"),
        Option("-q", "--quiet", help="a flag"),
        Option("-f", "--full", help="a flag"),
        Option("--tag", metavar="T", repeat=True, default=["x"], help="tags"),
        Option("--note", metavar="TEXT", empty_ok=True, help="a note"),
        Option("--mode", metavar="MODE", bare="auto", choices=("auto", "on"), help="a mode"),
    ],
    positional="FILE",
)


@pytest.mark.parametrize(
    ("argv", "dest", "value"),
    [
        (["--key-prefix", "a"], "key_prefix", "a"),
        (["--key-prefix=a=b"], "key_prefix", "a=b"),
        (["-key-prefix", "a"], "key_prefix", "a"),
        (["-key_prefix=a"], "key_prefix", "a"),
        (["--key-prefix=--full"], "key_prefix", "--full"),
        (["--key-prefix", "-"], "key_prefix", "-"),
        (["--key-prefix", "-5"], "key_prefix", "-5"),
        (["--key-prefix", "---"], "key_prefix", "---"),
        (["--note="], "note", ""),
        (["--note", ""], "note", ""),
        (["-s", "2k"], "size", 2000),
        (["-s2k"], "size", 2000),
        (["-s=2k"], "size", 2000),
        (["-qs", "2k"], "size", 2000),
        ([], "size", 5),
        (["-qf"], "full", True),
        (["-quiet=false"], "quiet", False),
        (["-q=false"], "quiet", False),
        (["-fq=no"], "quiet", False),
        (["--quiet", "--quiet=false"], "quiet", False),
        ([], "tag", ["x"]),
        (["--tag", "a", "--tag=b"], "tag", ["a", "b"]),
        (["--mode"], "mode", "auto"),
        (["--mode=on"], "mode", "on"),
        ([], "mode", None),
    ],
)
def test_options_can_be_written_in_every_usual_way(
    argv: list[str], dest: str, value: object
) -> None:
    values, positional = parser.parse(COMMAND, argv)
    assert getattr(values, dest) == value
    assert positional == []


def test_arguments_that_are_no_options() -> None:
    assert parser.parse(COMMAND, ["a", "-", "-5", "-.5", "--", "-q"])[1] == [
        "a",
        "-",
        "-5",
        "-.5",
        "-q",
    ]
    assert parser.parse(COMMAND, ["--mode", "file"])[1] == ["file"]
    runner = Command(
        "r", "Runs.", [Option("-q", help="x")], positional="X", stop_at_positional=True
    )
    values, rest = parser.parse(runner, ["-q", "ls", "-l", "--", "x"])
    assert values.q is True
    assert rest == ["ls", "-l", "--", "x"]


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["--key-prefx", "a"], "--key-prefx: no such option", "did you mean --key-prefix?"),
        (["-z"], "-z: no such option", "'probe --help'"),
        (["-qz"], "-z: no such option", "'probe --help'"),
        (["--size", "much"], "--size much: not a size (write 100M", "'probe --help'"),
        (["--size"], "--size needs a value: --size SIZE", "'probe --help'"),
        (
            ["--key-prefix", "--full"],
            "expected argument for flag --key-prefix, but got option --full",
            "write --key-prefix=--full if",
        ),
        (["--key-prefix", "-q"], "expected argument for flag --key-prefix, but got option -q", ""),
        (["--key-prefix", ""], "--key-prefix has an empty value", "a variable that is not set?"),
        (["--key-prefix="], "--key-prefix has an empty value", "a variable that is not set?"),
        (["--mode="], "--mode has an empty value", ""),
        (["\u2013quiet"], "\u2013quiet: has EN DASH (U+2013) instead of a hyphen", "write --quiet"),
        (["\u2014size=5"], "\u2014size=5: has EM DASH (U+2014) instead of", "write --size=5"),
        (
            ["--key\u2010prefix=a"],
            "--key\u2010prefix=a: has HYPHEN (U+2010)",
            "write --key-prefix=a",
        ),
        (["\u2212q"], "\u2212q: has MINUS SIGN (U+2212) instead of", "write -q"),
        (["--key-prefix", "\u2013size"], "\u2013size: has EN DASH", "write --size"),
        (["--size", "1e30"], "--size 1e30: not a size", ""),
        (["--size", "9" * 400], "--size " + "9" * 100, ""),
        (["--mode=off"], "--mode off: not one of auto, on", "'probe --help'"),
        (["--full=perhaps"], "--full=perhaps: a flag takes true or false", ""),
    ],
)
def test_what_is_wrong_is_named_with_a_way_out(argv: list[str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parser.parse(COMMAND, argv)
    assert str(caught.value).startswith(message)
    assert (caught.value.hint or "").startswith(hint)


def test_a_dash_before_an_unknown_name_is_named_where_no_argument_may_stand() -> None:
    strict = Command("r", "Runs.", [Option("-q", help="x")])
    with pytest.raises(UsageError, match=r"^\u2014nothing: has EM DASH \(U\+2014\)") as caught:
        parser.parse(strict, ["\u2014nothing"])
    assert caught.value.hint == "options begin with the hyphen of the keyboard: -"
    assert parser.parse(COMMAND, ["\u2014nothing"])[1] == ["\u2014nothing"]


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_arguments_are_read_or_refused(argv: list[str]) -> None:
    try:
        parser.parse(COMMAND, argv)
    except UsageError as error:
        assert "\n" not in cli.one_line(str(error))
    except SystemExit as end:
        assert end.code == 0


def ends(work: object) -> int:
    def call(_: cli.Values, __: list[str]) -> int:
        if isinstance(work, BaseException):
            raise work
        assert isinstance(work, int)
        return work

    return cli.run(Command("probe", "Probes.", []), call, [])


def test_every_end_has_its_status(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "give_up", lambda _: None)
    monkeypatch.delenv("KOJUTO_DEBUG", raising=False)
    assert ends(0) == 0
    assert ends(KojutoError("it broke", "mend it")) == 1
    assert capfd.readouterr().err == "probe: error: it broke\nhint: mend it\n"
    assert ends(UsageError("no")) == 2
    assert ends(KeyboardInterrupt()) == 130
    monkeypatch.setattr(streams, "reader_is_gone", lambda: True)
    assert ends(BrokenPipeError()) == 0
    monkeypatch.setattr(streams, "reader_is_gone", lambda: False)
    assert ends(BrokenPipeError(32, "Broken pipe")) == 1  # of a server, say
    capfd.readouterr()
    assert ends(FileNotFoundError(2, "No such file or directory", "/x")) == 1
    assert capfd.readouterr().err == "probe: error: /x: No such file or directory\n"
    assert ends(ZeroDivisionError("oops")) == 1
    assert "Traceback" not in capfd.readouterr().err
    monkeypatch.setenv("KOJUTO_DEBUG", "1")
    assert ends(KojutoError("a\nb\x1b[31m")) == 1
    text = capfd.readouterr().err
    assert "Traceback" in text
    assert text.endswith("probe: error: a\\nb\\x1b[31m\n")


def test_help_lists_everything() -> None:
    text = helptext.help_text(COMMAND)
    for part in ("Usage: probe [options] FILE", "-s, --size SIZE", "(default: 5)", "--mode[=MODE]",
                 "repeatable", "-h, --help", "-v, --version"):  # fmt: skip
        assert part in text


def test_a_full_stdout_is_an_error() -> None:
    import subprocess

    from tests.conftest import script

    with open("/dev/full", "wb") as full:
        done = subprocess.run([script("kojuto")], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert done.stderr == b"kojuto: error: standard output: No space left on device\n"


def test_kojuto_runs_a_command_and_knows_no_other() -> None:
    listed = run("kojuto")
    assert b"mackerel-plugin-axslog" in listed.stdout
    version = run("kojuto", "mackerel-plugin-axslog", "--version")
    assert version.stdout.startswith(b"mackerel-plugin-axslog 0.")
    wrong = run("kojuto", "mackerel-plugin-axlog")
    assert wrong.returncode == 2
    assert b"hint: did you mean mackerel-plugin-axslog?" in wrong.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("60s", 60), ("1h", 3600), ("24h0m0s", 86400), ("1.5h30m", 7200), ("90", 90),
     ("0", 0), ("1d", 86400), ("10us", 1e-5), ("0.5", 0.5), (" 3s ", 3)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert units.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "1h30", "-1s", "1.2.3s", "h1", "1 s", "inf", "١s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        units.duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [("100M", 10**8), ("32KB", 32000), ("32kb", 32000), ("2GiB", 2**31), ("2Gi", 2**31), ("7", 7),
     ("1.5k", 1500), ("1 MB", 10**6), ("10B", 10), ("9007199254740993", 9007199254740993)],
)  # fmt: skip
def test_sizes(text: str, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize("text", ["", "M", "1Q", "-1", "1M1", "1e3", "0x10", "1,5k"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        units.size(text)


def test_numbers_have_bounds() -> None:
    assert units.integer(1, 3)("3") == 3
    assert units.number(0, 9)("0.5") == 0.5
    assert units.timed("1ms", "1h", zero=True)("0") == 0
    assert units.timed("1ms", "1h")("1h") == 3600
    assert units.sized("1K", "1GiB")("1GiB") == 1 << 30
    refused = [
        (units.integer(1, 3), "0", "below the minimum of 1 (1 to 3)"),
        (units.integer(1, 3), "4", "above the maximum of 3 (1 to 3)"),
        (units.integer(1, 3, "days"), "9" * 5000, "above the maximum of 3 days (1 day to 3 days)"),
        (units.integer(0, 3), "1.5", "not a whole number"),
        (units.integer(0, 3), "\u0663", "not a whole number"),
        (units.number(0, 1), "2", "above the maximum of 1 (0 to 1)"),
        (units.number(0, 1), "nan", "not a finite number"),
        (units.number(0, 1), "inf", "not a finite number"),
        (units.number(0, 1), "x", "not a number"),
        (units.timed("1ms", "1h"), "0", "below the minimum of 1ms (1ms to 1h)"),
        (units.timed("1ms", "1h"), "999us", "below the minimum of 1ms (1ms to 1h)"),
        (units.timed("1ms", "1h", zero=True), "1ns", "below the minimum of 1ms (0, or 1ms to 1h)"),
        (units.timed("1ms", "1h"), "3600.1", "above the maximum of 1h (1ms to 1h)"),
        (units.timed("1ms", "1h"), "9" * 400 + "h", "above the maximum of 1h (1ms to 1h)"),
        (units.sized("1K", "1M"), "999", "below the minimum of 1K (1K to 1M)"),
        (units.sized("1K", "1M"), "1000001", "above the maximum of 1M (1K to 1M)"),
        (units.size, "1000001P", "above the maximum of 1EB"),
    ]
    for read, text, words in refused:
        with pytest.raises(ValueError, match=r"minimum|maximum|not a ") as caught:
            read(text)
        assert str(caught.value) == words


@pytest.mark.parametrize(
    ("short", "name"),
    [
        ("axslog", "mackerel-plugin-axslog"),
        ("log-incr-rate", "mackerel-plugin-log-incr-rate"),
        ("postfix-log", "mackerel-plugin-postfix-log"),
        ("postfix_log", "mackerel-plugin-postfix-log"),
        ("pinging", "mackerel-plugin-pinging"),
        ("process-status", "mackerel-plugin-linux-process-status"),
        ("sabo", "sabo"),
    ],
)
def test_kojuto_knows_short_names(short: str, name: str) -> None:
    assert run("kojuto", short, "--version").stdout.startswith(f"{name} ".encode())


def test_a_short_name_that_is_nearly_one_is_guessed() -> None:
    wrong = run("kojuto", "axlog")
    assert wrong.returncode == 2
    assert b"hint: did you mean axslog?" in wrong.stderr


def test_a_word_too_much_is_a_warning_for_a_plugin_and_an_error_for_a_program() -> None:
    plugin = run("kojuto", "process-status", "--pid", "1", "--key-prefix", "x", "left", "over")
    assert plugin.returncode == 0
    assert b"warning: left: unexpected argument, passed over" in plugin.stderr
    assert b"process-status.fds_x.count" in plugin.stdout
    program = run("consul-service-has-ip", "left")
    assert program.returncode == 2
    assert b"error: left: unexpected argument" in program.stderr


def test_a_value_behind_an_option_that_takes_it_with_an_equals_sign_only_is_told() -> None:
    done = run("ppdp", "--upstream", "127.0.0.1:1", "--proxy-protocol", "require")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines() == [
        "ppdp: error: require: unexpected argument",
        "hint: write --proxy-protocol=require if that is its value",
    ]


@pytest.mark.parametrize("name", ["kojuto", "deteco", "myps", "relaxlogs", PLUGIN])
def test_an_empty_argument_is_called_one(name: str, tmp_path: Path) -> None:
    """It has no text that a message could show, and is no option's value."""
    log = tmp_path / "log"
    log.touch()
    given = ["--once", "--logfile", str(log), "--key-prefix", "t"] if name == PLUGIN else []
    done = run(name, *given, "")
    if name == PLUGIN:
        assert done.stderr.startswith(b"%s: warning: an argument is empty, pas" % name.encode())
        assert done.returncode == 0
    else:
        words = f"{name}: error: an argument is empty\nhint: a variable that is not set?\n"
        assert (done.returncode, done.stderr.decode()) == (2, words)
