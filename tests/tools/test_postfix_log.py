"""mackerel-plugin-postfix-log: delays and outcomes of deliveries, against corpora and Postfix."""

from __future__ import annotations

import json
import math
import os
import re
import time
from pathlib import Path

import pytest

from kojuto._native import StateLock
from kojuto.tools import postfix_log
from tests.conftest import corpus, read_metrics, run

PROG = "mackerel-plugin-postfix-log"
HEAD = "Apr 19 12:50:52 mail1 postfix/smtp[7570]: "
FIELDS = (
    "69FFFC00B6: to=<a@b.example>, relay=mx.b.example[192.0.2.1]:25, delay=0.31, "
    "delays=0.04/0/0.09/0.17, dsn=2.0.0, status=sent (250 Ok)"
)
AGENTS = ("smtp", "lmtp", "local", "virtual", "pipe", "error", "discard")
DELAYS = ("total", "recving", "queuing", "connection", "transmission")
STATISTICS = ("average", "99_percentile", "95_percentile", "90_percentile")


def position(workdir: Path, prefix: str = "maillog") -> Path:
    return workdir / f"{prefix}-postfixlog-{os.getuid()}"


def scan(
    capsys: pytest.CaptureFixture[str], log: Path, *options: str
) -> tuple[dict[str, str], str]:
    """The metrics and the messages of one run in this process."""
    assert postfix_log.main(["--logfile", str(log), *options]) == 0
    captured = capsys.readouterr()
    return read_metrics(captured.out.encode()), captured.err


def later(workdir: Path, seconds: int, prefix: str = "maillog") -> None:
    """Let the previous run have been so long ago."""
    path = position(workdir, prefix)
    state = json.loads(path.read_text())
    state["time"] = int(time.time()) - seconds
    path.write_text(json.dumps(state))


def count(metrics: dict[str, str], seconds: float, key: str = "transfer_total.count") -> int:
    """How many there were, from a per-second figure."""
    return round(float(metrics[f"postfixlog.{key}"]) * seconds)


# -- the output -------------------------------------------------------------------------------


def test_all_lines_in_their_order(workdir: Path, tmp_path: Path) -> None:
    log = tmp_path / "maillog"
    log.touch()
    first = run(PROG, "--logfile", log)
    assert (first.returncode, first.stdout, first.stderr) == (0, b"", b"")
    lines = [HEAD + FIELDS.replace("0.31", f"{n}") for n in range(10)]
    lines += [HEAD + FIELDS.replace("dsn=2.0.0", dsn) for dsn in ("dsn=4.7.1", "dsn=5.1.1")]
    log.write_text("".join(line + "\n" for line in lines))
    later(workdir, 10)
    done = run(PROG, "--logfile", log)
    assert (done.returncode, done.stderr) == (0, b"")
    metrics = read_metrics(done.stdout)
    delays = [f"postfixlog.{delay}_delay.{name}" for delay in DELAYS for name in STATISTICS]
    classes = ("2xx", "4xx", "5xx")
    assert list(metrics) == [
        *delays,
        *(f"postfixlog.transfer_num.{name}_count" for name in classes),
        "postfixlog.transfer_total.count",
        *(f"postfixlog.transfer_ratio.{name}_percentage" for name in classes),
    ]
    # Twelve values, 0 to 9 and twice 0.31: index round(12 * p) - 1 of the ascending list.
    assert [metrics[name] for name in delays[:4]] == [
        f"{45.62 / 12:f}", "9.000000", "8.000000", "8.000000"
    ]  # fmt: skip
    assert [metrics[name] for name in delays[4:8]] == ["0.040000"] * 4
    assert [metrics[name] for name in delays[8:12]] == ["0.000000"] * 4
    assert [metrics[name] for name in delays[12:16]] == ["0.090000"] * 4
    assert [metrics[name] for name in delays[16:]] == ["0.170000"] * 4
    # The clock may have gone on by a second between two readings.
    assert metrics["postfixlog.transfer_total.count"] in ("1.200000", f"{12 / 11:f}")
    assert count(metrics, 10, "transfer_num.2xx_count") in (10, 9)
    shares = [metrics[f"postfixlog.transfer_ratio.{name}_percentage"] for name in classes]
    assert shares == [f"{1000 / 12:f}", f"{100 / 12:f}", f"{100 / 12:f}"]


def test_per_second_figures_need_a_previous_run_and_time_that_passed(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "maillog"
    log.write_text(f"{HEAD}{FIELDS}\n")
    first, _ = scan(capsys, log)
    assert len(first) == 20 + 3
    assert not [name for name in first if "transfer_num" in name or "transfer_total" in name]
    later(workdir, 5)
    nothing, _ = scan(capsys, log)
    assert list(nothing) == [
        "postfixlog.transfer_num.2xx_count", "postfixlog.transfer_num.4xx_count",
        "postfixlog.transfer_num.5xx_count", "postfixlog.transfer_total.count",
    ]  # fmt: skip
    assert set(nothing.values()) == {"0.000000"}
    later(workdir, -3600)
    with log.open("a") as file:
        file.write(f"{HEAD}{FIELDS}\n")
    stepped_back, _ = scan(capsys, log)
    assert len(stepped_back) == 20 + 3


def test_the_position_of_the_go_plugin_is_taken_over(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "maillog"
    line = f"{HEAD}{FIELDS}\n"
    log.write_text(line * 5)
    stat = log.stat()
    old = {"pos": len(line) * 2, "time": time.time() - 60, "inode": stat.st_ino, "dev": stat.st_dev}
    position(workdir, "relay").write_text(json.dumps(old))
    metrics, messages = scan(capsys, log, "--posfile-prefix", "relay")
    assert count(metrics, 60) == 3
    assert messages == ""
    assert json.loads(position(workdir, "relay").read_text())["pos"] == len(line) * 5


def test_the_other_forms_carry_the_same_figures(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "maillog"
    log.write_text(f"{HEAD}{FIELDS}\n")
    options = ["--logfile", str(log), "--by-relay", "--by-dsn", "--output"]
    assert postfix_log.main([*options, "json", "--posfile-prefix", "a"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metrics"]["postfixlog.total_delay.average"] == 0.31
    assert (
        document["metrics"]["postfixlog.relay_total_delay.mx_b_example--b5b4b6fb.average"] == 0.31
    )
    assert document["logs"][0]["deliveries"] == 1
    assert postfix_log.main([*options, "prometheus", "--posfile-prefix", "b"]) == 0
    text = capsys.readouterr().out
    assert 'postfixlog_delay_seconds{delay="total",statistic="average",prefix="b",log=' in text
    assert 'postfixlog_transfer_ratio{class="2xx",relay="mx.b.example",prefix="b",log=' in text
    assert 'postfixlog_dsn_ratio{dsn="2.0.0",prefix="b",log=' in text
    sample = re.compile(r"^[a-z_]+\{[a-z_]+=\"[^\"]*\"(,[a-z_]+=\"[^\"]*\")*\} \S+$")
    assert all(line.startswith("# ") or sample.match(line) for line in text.splitlines())


@pytest.mark.parametrize("options", [[], ["--by-relay", "--by-dsn", "--activity"]], ids=str)
def test_the_graph_definition_names_every_metric_and_touches_nothing(
    workdir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MACKEREL_AGENT_PLUGIN_META", "1")
        assert postfix_log.main(["--logfile", str(workdir / "missing"), *options]) == 0
    head, definition = capsys.readouterr().out.splitlines()
    assert head == "# mackerel-agent-plugin"
    assert os.listdir(workdir) == []
    graphs = json.loads(definition)["graphs"]
    known = [
        re.compile(re.escape(f"{key}.{metric['name']}").replace(r"\#", "[-a-zA-Z0-9_]+") + "$")
        for key, graph in graphs.items()
        for metric in graph["metrics"]
    ]
    log = tmp_path / "maillog"
    log.touch()
    scan(capsys, log, *options)
    later(workdir, 10)
    log.write_text(f"{HEAD}{FIELDS}\n")
    metrics, _ = scan(capsys, log, *options)
    assert all(any(pattern.match(name) for pattern in known) for name in metrics)
    assert all(any(pattern.match(name) for name in metrics) for pattern in known)


# -- corpora ----------------------------------------------------------------------------------

EXPECTED = json.loads(corpus("postfix/expected.json").read_text())
LINES = json.loads(corpus("postfix/lines.json").read_text())["cases"]
FORMATS = json.loads(corpus("postfix/format_tv.json").read_text())["vectors"]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_corpus_gives_the_expected_figures(
    name: str, workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "maillog"
    log.write_bytes(b"")
    options = ("--program", "smtp", "--syslog-name", "postfix.*")
    scan(capsys, log, *options)
    later(workdir, 100_000)
    log.write_bytes(corpus(f"postfix/{name}").read_bytes() + b"\n")
    metrics, messages = scan(capsys, log, *options)
    assert messages == ""
    expected = EXPECTED[name]
    deliveries = expected["smtp_delivery_lines"]
    assert count(metrics, 100_000) == deliveries
    if not deliveries:
        assert not any("delay" in name for name in metrics)
        return
    assert expected["smtp_without_dsn"] == 0
    for digit in "245":
        share = metrics[f"postfixlog.transfer_ratio.{digit}xx_percentage"]
        number = expected["smtp_dsn_class"].get(f"{digit}.x.x", 0)
        assert share == f"{number * 100 / deliveries:f}"
        assert count(metrics, 100_000, f"transfer_num.{digit}xx_count") == number
    for delay, key in zip(
        DELAYS, ("delay", "delays_a", "delays_b", "delays_c", "delays_d"), strict=True
    ):
        figures = expected[f"smtp_{key}"]
        assert figures["count"] == deliveries
        assert "float_rule_differs" not in figures
        prefix = f"postfixlog.{delay}_delay"
        assert metrics[f"{prefix}.average"] == f"{figures['avg']:f}"
        for percent in ("90", "95", "99"):
            value = float(figures[f"p{percent}"])
            assert metrics[f"{prefix}.{percent}_percentile"] == f"{value:f}"


@pytest.mark.parametrize("case", LINES, ids=[case["id"] for case in LINES])
def test_single_lines_of_other_parsers_tests(
    case: dict[str, object], workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = case["expected"]
    assert isinstance(expected, dict)
    text = case.get("line") or f"Apr 19 12:50:52 mail1 {case['program']}[7570]: {case['message']}"
    for number, stamp in enumerate(("", "2023-02-01T01:02:04.123456+00:00")):
        line = re.sub(r"^[A-Z][a-z]{2} +\d+ [\d:]{8}", stamp, str(text)) if stamp else str(text)
        log = tmp_path / f"log{number}"
        log.write_text(line + "\n")
        options = [option for agent in AGENTS for option in ("--program", agent)]
        prefix = f"p{number}"
        metrics, messages = scan(
            capsys, log, *options, "--syslog-name", "postfix.*", "--posfile-prefix", prefix
        )
        if expected["delivery"] is True and "dsn" in expected:
            assert messages == ""
            found = [float(metrics[f"postfixlog.{delay}_delay.average"]) for delay in DELAYS]
            assert found == [expected["delay_s"], *expected["delays_abcd"]]
            digit = expected["dsn"][0]
            assert metrics[f"postfixlog.transfer_ratio.{digit}xx_percentage"] == "100.000000"
        elif expected["delivery"] == "either":  # an exponent, which Postfix never prints
            assert metrics["postfixlog.total_delay.average"] == "120000.000000"
        else:
            # Postfix before 2.3 printed neither delays= nor dsn=: such a delivery is reported.
            assert metrics == {}
            broken = expected["delivery"] is True or ", delay=" in line
            assert ("not counted" in messages) is broken


def test_every_number_that_postfix_can_print_is_read(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "maillog"
    values = [vector["logged"] for vector in FORMATS]
    log.write_text("".join(f"{HEAD}{FIELDS.replace('0.31', value)}\n" for value in values))
    metrics, messages = scan(capsys, log)
    assert messages == ""
    numbers = sorted(map(float, values))
    average = math.fsum(numbers) / len(numbers)
    assert abs(float(metrics["postfixlog.total_delay.average"]) - average) <= 1e-6  # the last digit
    rank = int(len(numbers) * 0.9 + 0.5) - 1
    assert metrics["postfixlog.total_delay.90_percentile"] == f"{numbers[rank]:f}"


# -- what counts ------------------------------------------------------------------------------


def test_the_default_is_postfix_smtp_and_nothing_else(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [
        "postfix/smtp", "postfix/smtpd", "postfix/lmtp", "postfix/error", "postfix/relay/smtp",
        "postfix-out/smtp", "xpostfix/smtp",
    ]  # fmt: skip
    log = tmp_path / "maillog"
    lines = [f"Apr 19 12:50:52 m {name}[1]: {FIELDS}\n" for name in names]
    quoted = (
        f"Apr 19 12:50:52 m postfix/cleanup[1]: 69FF: warning: header x postfix/smtp[1]: {FIELDS}"
    )
    log.write_text("".join(lines) + quoted + "\n")

    def deliveries(*options: str) -> int:
        name = f"p{len(os.listdir(workdir))}"
        again = ["--posfile-prefix", name, "--output", "json", "--logfile", str(log)]
        assert postfix_log.main([*again, *options]) == 0
        number = json.loads(capsys.readouterr().out)["logs"][0]["deliveries"]
        assert isinstance(number, int)
        return number

    assert deliveries() == 1
    assert deliveries("--program", "error", "--program", "lmtp") == 2
    assert deliveries("--program", "postfix/relay/smtp") == 1
    assert deliveries("--program", "postfix-out/smtp", "--program", "smtp") == 2
    assert deliveries("--syslog-name", "postfix(-out)?(/relay)?") == 3
    assert deliveries("--syslog-name", "postfix-out") == 1
    assert deliveries("--program", "smtpd") == 0


def test_deliveries_of_other_instances_only_are_told(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "mail"
    other = f"{HEAD}{FIELDS}\n".replace("postfix/smtp", "postfix-out/smtp")
    log.write_text(other * 2)
    metrics, told = scan(capsys, log)
    assert "postfixlog.total_delay.average" not in metrics
    assert told == (
        f"{PROG}: {log}: nothing is counted, all deliveries are of other instances "
        "(postfix-out/smtp: 2 lines)\nhint: --syslog-name 'postfix-out' counts them\n"
    )
    log.write_text(other * 2 + f"{HEAD}{FIELDS}\n")
    assert scan(capsys, log, "--once")[1] == ""
    metrics, told = scan(capsys, log, "--once", "--syslog-name", "postfix-out")
    assert (metrics["postfixlog.total_delay.average"], told) == ("0.310000", "")


def test_a_log_that_is_the_null_device_is_empty(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        metrics, told = scan(capsys, Path("/dev/null"))
        assert "postfixlog.total_delay.average" not in metrics
        assert told == ""
    assert json.loads(position(workdir).read_text())["pos"] == 0


def test_bad_lines_make_one_line_on_stderr(workdir: Path, tmp_path: Path) -> None:
    log = tmp_path / "maillog"
    broken = [
        FIELDS.replace("delay=0.31", "delay=soon"),
        FIELDS.replace(", delays=0.04/0/0.09/0.17", ""),
        FIELDS.replace("0.09/0.17", "0.0\x00"),
        FIELDS.replace("dsn=2.0.0, ", ""),
    ]
    lines = [HEAD + fields for fields in [*broken, *broken, FIELDS]]
    lines += ["\x00\xff", "", "no head, delay=1", f"{HEAD}connect to x[192.0.2.1]:25: timed out"]
    log.write_bytes("".join(f"{line}\r\n" for line in lines).encode("latin-1"))
    done = run(PROG, "--logfile", log, "--output", "json")
    assert done.returncode == 0
    about = json.loads(done.stdout)["logs"][0]
    assert about["deliveries"] == 1
    reasons = {"no delays=A/B/C/D": 4, "a delay that is not a number": 2, "no dsn=": 2}
    assert about["bad_lines"] == reasons
    (message,) = done.stderr.decode().splitlines()
    assert "8 lines not counted" in message
    assert "delay=soon" in message


def test_by_relay_and_by_dsn_pool_what_is_over_max_groups(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "maillog"
    log.touch()
    options = ("--by-relay", "--by-dsn", "--max-groups", "2")
    scan(capsys, log, *options)
    later(workdir, 1000)
    lines = []
    for number, (relay, dsn) in enumerate(
        [("a", "2.0.0")] * 5 + [("b", "4.7.1")] * 3 + [("c", "5.1.1")] + [("d", "2.6.0")]
    ):
        fields = FIELDS.replace("mx.b", f"mx.{relay}").replace("2.0.0", dsn)
        lines.append(f"{HEAD}{fields.replace('0.31', str(number))}\n")
    log.write_text("".join(lines))
    metrics, _ = scan(capsys, log, *options)
    relays = [name.split(".")[2] for name in metrics if "relay_transfer_total" in name]
    assert relays == ["mx_a_example--8c398a3e", "mx_b_example--b5b4b6fb", "other"]
    total = "relay_transfer_total.{}.count"
    assert [count(metrics, 1000, total.format(relay)) for relay in relays] == [5, 3, 2]
    assert metrics["postfixlog.relay_total_delay.mx_a_example--8c398a3e.average"] == "2.000000"
    assert metrics["postfixlog.relay_total_delay.other.99_percentile"] == "9.000000"
    assert metrics["postfixlog.relay_transfer_ratio.other.2xx_percentage"] == "50.000000"
    dsns = [name.split(".")[2] for name in metrics if "dsn_num" in name]
    assert dsns == ["2_0_0", "4_7_1", "other"]
    assert [count(metrics, 1000, f"dsn_num.{dsn}.count") for dsn in dsns] == [5, 3, 2]
    assert metrics["postfixlog.dsn_ratio.4_7_1.percentage"] == "30.000000"


def test_threads_give_the_same_figures(
    workdir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "maillog"
    line = "{}{}\n"
    lines = [
        line.format(HEAD, FIELDS.replace("0.31", f"{n % 1500}").replace("mx.b", f"mx{n % 7}"))
        for n in range(20_000)
    ]
    log.write_text("".join(lines))
    options = ("--by-relay", "--by-dsn", "--activity", "--threads")
    one, _ = scan(capsys, log, *options, "1", "--posfile-prefix", "one")
    three, _ = scan(capsys, log, *options, "3", "--posfile-prefix", "three")
    assert one == three
    assert len(one) > 100


# -- how it is called -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--syslog-name", "postfix("], "--syslog-name postfix("),
        (["--program", "a b"], "--program a b"),
        (["--max-groups", "0"], "--max-groups 0"),
        (["--output", "xml"], "--output xml"),
    ],
)
def test_wrong_values_are_named(workdir: Path, arguments: list[str], named: str) -> None:
    done = run(PROG, *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith(f"{PROG}: error: {named}")
    assert hint.startswith("hint: ")
    assert os.listdir(workdir) == []


def test_a_log_that_is_not_there_is_one_line_and_status_1(workdir: Path, tmp_path: Path) -> None:
    done = run(PROG, "--logfile", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, b"")
    (error,) = done.stderr.decode().splitlines()
    assert error == f"{PROG}: error: {tmp_path / 'none'}: No such file or directory"
    assert not position(workdir).exists()


def test_a_second_run_at_the_same_time_counts_nothing(workdir: Path, tmp_path: Path) -> None:
    log = tmp_path / "maillog"
    log.write_text(f"{HEAD}{FIELDS}\n")
    lock = StateLock(str(position(workdir)))
    done = run(PROG, "--logfile", log)
    assert (done.returncode, done.stdout) == (0, b"")
    assert len(done.stderr.decode().splitlines()) == 1
    lock.release()
    done = run(PROG, "--logfile", log)
    assert len(read_metrics(done.stdout)) == 23
