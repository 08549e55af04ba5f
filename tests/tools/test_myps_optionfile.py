"""Option files as the mysql client reads them: beside the real my_print_defaults, and bounded."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kojuto.tools.myps import optionfile
from kojuto.tools.myps.optionfile import OptionFileError, OptionFiles, client_options, unscramble
from tests.conftest import need_program

if TYPE_CHECKING:
    from collections.abc import Callable

GROUPS = ["client", "myps"]


def ours(path: Path, groups: list[str] = GROUPS) -> list[str]:
    """The options as my_print_defaults prints them."""
    files = OptionFiles(groups, lambda _: None)
    files.read(str(path), required=True)
    return shown(files.options)


def shown(options: list[tuple[str, str | None]]) -> list[str]:
    return [f"--{name}" + ("" if value is None else f"={value}") for name, value in options]


def theirs(path: Path, groups: list[str] = GROUPS) -> list[str] | None:
    """What the real program prints, None when it fails."""
    program = need_program("my_print_defaults")
    done = subprocess.run(
        [program, f"--defaults-file={path}", *groups], capture_output=True, check=False
    )
    if done.returncode != 0:
        return None
    lines = done.stdout.decode("utf-8", "surrogateescape").split("\n")[:-1]
    # It leaves the underscores of a name to the program that reads the option.
    parts = [line.partition("=") for line in lines]
    return [name.replace("_", "-") + equals + value for name, equals, value in parts]


CASES = {
    "plain": "[client]\nuser=app\npassword=secret\n",
    "blanks": "  [client]  \n   user  =   app   \n\n\t port\t=\t3307\n",
    "comments": "[client]\n# one\n; two\nuser=app # three\npassword=pass#word\n  # four\n",
    "quoted hash": "[client]\npassword='pass#word'\nuser=\"a # b\" # c\n",
    "half quoted": "[client]\npassword=pa'ss#word\nuser=x\n",
    "one quote": '[client]\npassword=\'\nuser=""\nhost=\'a"\n',
    "escapes": r"[client]"
    + "\n"
    + r"password=a\tb\sc\\d\'e\"f\xg\q"
    + "\n"
    + r'user="a\"b"'
    + "\n",
    "escaped quote before hash": "[client]\npassword='it\\'s#here' # gone\n",
    "trailing backslash": "[client]\npassword=abc\\\nuser=x\n",
    "no value": "[client]\ncompress\nssl\nuser=\n",
    "underscores": "[client]\nssl_ca=/a_b\nssl-cert=/c\nconnect_timeout=5\n",
    "groups": "[mysqld]\nuser=mysql\n[client]\nuser=a\n[mysqld]\nport=1\n[myps]\nuser=b\n",
    "group blanks": "[client ]\nuser=a\n[ client]\nuser=b\n[client] junk\nuser=c\n",
    "no group": "user=a\n[client]\n",
    "bad group": "[client\nuser=a\n",
    "crlf": "[client]\r\nuser=app\r\npassword='x y'\r\n",
    "equals in value": "[client]\npassword=a=b==c\n",
    "no newline at the end": "[client]\nuser=app",
    "hash only": "[client]\n#\nuser#=x\n",
    "utf8": "[client]\nuser=日本\npassword=ä#ö\n",
    "empty": "",
    "twice": "[client]\nuser=a\nuser=b\n",
}


@pytest.mark.parametrize("name", CASES)
def test_each_rule_reads_as_my_print_defaults_does(name: str, tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_bytes(CASES[name].encode())
    path.chmod(0o644)
    expected = theirs(path)
    if expected is None:
        with pytest.raises(OptionFileError):
            ours(path)
    else:
        assert ours(path) == expected


WORDS = st.text(st.sampled_from("ab=#;'\"\\ \tn-.é%"), max_size=12)
LINES = st.lists(
    st.one_of(
        st.sampled_from(["[client]", "[mysqld]", "[myps]", "# x", ";", ""]),
        st.builds(lambda name, value: f"{name}={value}", st.sampled_from(["user", "a-b"]), WORDS),
        # Of an option without a name the other prints what stood in its buffer.
        WORDS.filter(lambda word: not word.strip().startswith(("!", "[", "="))),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(LINES)
def test_any_file_reads_as_my_print_defaults_does(lines: list[str]) -> None:
    path = Path(f"/dev/shm/kojuto-test-{os.getpid()}.cnf")
    path.write_text("[client]\n" + "\n".join(lines) + "\n")
    path.chmod(0o644)
    try:
        expected = theirs(path)
        got = ours(path)
    finally:
        path.unlink()
    # A newline that an escape made is a newline in its output too.
    assert "\n".join(got).replace("_", "-") == "\n".join(expected or []).replace("_", "-")


@given(st.binary(max_size=300))
def test_any_bytes_are_options_or_one_clear_error(content: bytes) -> None:
    path = Path(f"/dev/shm/kojuto-test-any-{os.getpid()}.cnf")
    path.write_bytes(content)
    path.chmod(0o644)
    try:
        ours(path)
    except OptionFileError as error:
        assert str(path) in str(error)
    finally:
        path.unlink()


@pytest.mark.parametrize("group", ["CLIENT", "Client", "MyPS"])
def test_a_group_is_known_in_any_case(tmp_path: Path, group: str) -> None:
    path = tmp_path / "my.cnf"
    path.write_text(f"[{group}]\nuser=a\n[mysqld]\nuser=b\n")
    assert ours(path) == theirs(path) == ["--user=a"]


def test_includes_in_order_by_the_same_groups(tmp_path: Path) -> None:
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "b.cnf").write_text("[client]\nuser=b\n")
    (folder / "a.cnf").write_text("[client]\nuser=a\n[mysqld]\nport=1\n")
    (folder / "c.txt").write_text("[client]\nuser=never\n")
    (folder / "d.cnf.bak").write_text("[client]\nuser=never\n")
    (folder / "e.x.cnf").write_text("[client]\nuser=e\n")
    (folder / ".cnf").write_text("[client]\nuser=dot\n")
    (tmp_path / "one.cnf").write_text("[client]\nuser=one\n")
    path = tmp_path / "my.cnf"
    path.write_text(
        f"[client]\nuser=first\n!include {tmp_path}/one.cnf\n!includedir {folder}\n"
        f"!include {tmp_path}/missing.cnf\nhost=after\n"
    )
    assert ours(path) == theirs(path)
    assert ours(path)[:2] == ["--user=first", "--user=one"]
    assert "--user=b" in ours(path)


def test_an_include_that_goes_round_ends(tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\nuser=x\n!include {path}\n")
    warnings: list[str] = []
    files = OptionFiles(GROUPS, warnings.append)
    files.read(str(path))
    assert len(files.options) == optionfile.MAX_DEPTH + 1
    assert len(warnings) == 1


def test_a_bomb_of_includes_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_text("[client]\n" + f"!include {path}\n" * 10)
    with pytest.raises(OptionFileError, match="more than 1000 option files"):
        ours(path)


def test_bounds_of_line_and_file(tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    line = "password=" + "x" * (optionfile.MAX_LINE_BYTES - len("password="))
    path.write_text(f"[client]\n{line}\n")
    assert ours(path) == [f"--{line}"]
    path.write_text(f"[client]\n{line}x\n")
    with pytest.raises(OptionFileError, match=r"my\.cnf:2: a line of more than 4096 bytes"):
        ours(path)
    comments = "[client]\nuser=a\n".ljust(optionfile.MAX_FILE_BYTES - 1, "\n") + "#"
    path.write_text(comments)
    assert ours(path) == ["--user=a"]
    path.write_text(comments + "#")
    with pytest.raises(OptionFileError, match="larger than 1048576 bytes"):
        ours(path)


def test_a_world_writable_file_is_skipped_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "my.cnf"
    path.write_text("[client]\nuser=evil\n")
    path.chmod(0o666)
    warnings: list[str] = []
    files = OptionFiles(GROUPS, warnings.append)
    files.read(str(path))
    assert files.options == []
    assert "world-writable" in warnings[0]
    assert not theirs(path)


def test_the_order_of_the_files_and_what_replaces_it(tmp_path: Path) -> None:
    home, site = tmp_path / "home", tmp_path / "site"
    home.mkdir()
    site.mkdir()
    files = {
        "global": tmp_path / "global.cnf",
        "site": site / "my.cnf",
        "extra": tmp_path / "extra.cnf",
        "home": home / ".my.cnf",
    }
    for name, path in files.items():
        path.write_text(f"[client]\nuser={name}\n{name}=1\n[client_x]\nuser={name}_x\n")
    environ = {"HOME": str(home), "MYSQL_HOME": str(site)}

    def read(**options: object) -> dict[str, str | None]:
        return dict(
            client_options(
                "myps",
                environ,
                pytest.fail,
                global_files=[str(files["global"])],
                **options,  # type: ignore[arg-type]
            )
        )

    assert list(read(extra_file=str(files["extra"]))) == ["user", "global", "site", "extra", "home"]
    assert read(extra_file=str(files["extra"]))["user"] == "home"
    files["home"].unlink()
    assert read(extra_file=str(files["extra"]))["user"] == "extra"
    assert read()["user"] == "site"
    assert read(group_suffix="_x")["user"] == "site_x"
    environ["MYSQL_GROUP_SUFFIX"] = "_x"
    assert read()["user"] == "site_x"
    del environ["MYSQL_GROUP_SUFFIX"]
    assert read(defaults_file=str(files["global"])) == {"user": "global", "global": "1"}
    assert read(no_defaults=True) == {}
    for name in ("defaults_file", "extra_file"):
        with pytest.raises(OptionFileError, match="/no/such"):
            read(**{name: "/no/such"})


@pytest.mark.parametrize("line", ["!inclde /etc/my.cnf", "!", "!INCLUDE /a"])
def test_an_unknown_directive_is_passed_over_with_a_warning(tmp_path: Path, line: str) -> None:
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\n{line}\nuser=a\n")
    warnings: list[str] = []
    files = OptionFiles(GROUPS, warnings.append)
    files.read(str(path))
    assert shown(files.options) == theirs(path) == ["--user=a"]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{path}:2: unknown directive !")


@pytest.mark.parametrize("line", ["!include", "!includedir  "])
def test_a_wrong_directive_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\n{line}\n")
    with pytest.raises(OptionFileError, match=f"^{path}:2: wrong directive {line.strip()}$"):
        ours(path)


def test_a_folder_to_include_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A file that is not there is passed over, as my_print_defaults does; a folder is not."""
    path = tmp_path / "my.cnf"
    path.write_text("[client]\n!include /no/such\n!includedir /no/such\n")
    with pytest.raises(OptionFileError) as caught:
        ours(path)
    assert str(caught.value) == f"{path}:3: /no/such: No such file or directory"


def test_a_folder_by_the_name_of_an_option_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.cnf").mkdir()
    (tmp_path / "b.cnf").write_text("[client]\nuser=b\n")
    path = tmp_path / "top"
    path.write_text(f"!includedir {tmp_path}\n")
    open_before = os.listdir("/proc/self/fd")
    assert ours(path) == theirs(path) == ["--user=b"]
    assert os.listdir("/proc/self/fd") == open_before


# -- .mylogin.cnf -----------------------------------------------------------------------------


def scramble(text: str) -> bytes:
    """A login file, encrypted by the openssl program."""
    openssl = need_program("openssl")
    key20 = bytes(range(100, 120))
    key = bytearray(16)
    for position, byte in enumerate(key20):
        key[position % 16] ^= byte
    out = b"\0\0\0\0" + key20
    for line in text.splitlines(keepends=True):
        done = subprocess.run(
            [openssl, "enc", "-aes-128-ecb", "-K", key.hex()],
            input=line.encode(),
            capture_output=True,
            check=True,
        )
        out += struct.pack("<I", len(done.stdout)) + done.stdout
    return out


LOGIN = (
    '[client]\nuser = "root"\npassword = "s3cret#1"\n'
    '[remote]\nhost = "db1"\nport = 3310\n[remote_x]\nhost = "db2"\n'
)


def test_the_login_file_comes_last_and_only_when_it_is_private(tmp_path: Path) -> None:
    path = tmp_path / ".mylogin.cnf"
    path.write_bytes(scramble(LOGIN))
    (tmp_path / ".my.cnf").write_text("[client]\nuser=other\nhost=db0\n")
    warnings: list[str] = []

    def read(**options: object) -> dict[str, str | None]:
        environ = {"HOME": str(tmp_path)}
        return dict(
            client_options("myps", environ, warnings.append, global_files=[], **options)  # type: ignore[arg-type]
        )

    path.chmod(0o640)
    assert read() == {"user": "other", "host": "db0"}
    assert "0600" in warnings[0]
    path.chmod(0o600)
    assert read() == {"user": "root", "host": "db0", "password": "s3cret#1"}
    assert read(no_defaults=True) == {"user": "root", "password": "s3cret#1"}
    assert read(login_path="remote")["host"] == "db1"
    assert read(login_path="remote")["port"] == "3310"
    assert read(login_path="remote", group_suffix="_x")["host"] == "db2"
    environ = {"HOME": "/nowhere", "MYSQL_TEST_LOGIN_FILE": str(path)}
    found = client_options("myps", environ, warnings.append, global_files=[])
    assert dict(found)["user"] == "root"
    assert len(warnings) == 1


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_login_file_that_is_no_file_is_passed_over(
    tmp_path: Path, make: Callable[[Path, int], None]
) -> None:
    """A pipe in its place would hold up each run."""
    make(tmp_path / ".mylogin.cnf", 0o600)
    (tmp_path / ".my.cnf").write_text("[client]\nuser=app\n")
    environ = {"HOME": str(tmp_path)}
    assert client_options("myps", environ, pytest.fail, global_files=[]) == [("user", "app")]


@pytest.mark.parametrize(
    "plain", [b"user=x".ljust(16, b"\0"), b"u" * 15 + b"\x11", b"u" * 13 + b"\3\2\3"]
)
def test_a_login_file_by_another_key_is_one_clear_error(plain: bytes) -> None:
    """What a wrong key gives has the end of no padded text (PKCS #7)."""
    key = bytes(range(1, 17))
    done = subprocess.run(
        [need_program("openssl"), "enc", "-aes-128-ecb", "-nopad", "-K", key.hex()],
        input=plain, capture_output=True, check=True,
    )  # fmt: skip
    content = bytes(4) + key + bytes(4) + struct.pack("<I", len(done.stdout)) + done.stdout
    with pytest.raises(OptionFileError, match=r"^f: not a login file$"):
        unscramble(content, "f")


def test_a_broken_login_file_is_one_clear_error() -> None:
    whole = scramble(LOGIN)
    assert unscramble(whole, "f") == LOGIN
    for cut in range(len(whole)):
        try:
            assert LOGIN.startswith(unscramble(whole[:cut], "f"))
        except OptionFileError as error:  # noqa: PERF203
            assert str(error) == "f: not a login file"


@given(st.binary(max_size=200))
def test_any_login_file_is_text_or_one_clear_error(content: bytes) -> None:
    try:
        unscramble(content, "f")
    except OptionFileError as error:
        assert str(error) == "f: not a login file"
