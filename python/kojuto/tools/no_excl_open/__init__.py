"""``no-excl-open``: runs a command so that a log that is already there does not stop it.

The work is done by ``no_excl_open.so``, which this wrapper puts into LD_PRELOAD.
"""

from __future__ import annotations

import os
import sys

import kojuto
from kojuto.common import cli, streams
from kojuto.common.cli import Command, Option, Values
from kojuto.errors import KojutoError, UsageError, words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NOT_EXECUTABLE = 126
NOT_FOUND = 127
MAX_PATTERNS_BYTES = 16383
"""What the shim has room for."""


def pattern(text: str) -> str:
    """A pattern of glob(7) as the shim compares it: absolute, without a colon."""
    for kind in ("[:", "[.", "[="):
        if kind in text:
            raise ValueError(f"classes of characters ({kind}…{kind[1]}]) are not known here")
    if ":" in text:
        raise ValueError("a pattern must not have a colon")
    return os.path.abspath(text)


def program_name(text: str) -> str:
    """A program as the shim compares it: the name of its file, or an absolute path."""
    if ":" in text:
        raise ValueError("a program's name has no colon here")
    return os.path.abspath(text) if "/" in text else text


FOR = Option(
    "--for", metavar="NAME", default="logrotate", read=program_name,
    help="the program that is changed, by the name or path of its file",
)  # fmt: skip

COMMAND = Command(
    "no-excl-open",
    "Runs COMMAND so that logrotate, whatever starts it, has a shim in LD_PRELOAD: where it "
    "creates a file with O_CREAT|O_EXCL|O_RDWR that is already there, the file is opened. So it "
    "does not fail with 'File exists', or strand lines in a .backup file, when the application "
    "re-creates its log between rename and create. 'no-excl-open doctor' says whether a program "
    "can be run so.",
    [
        FOR,
        Option(
            "--only", metavar="GLOB", read=pattern, repeat=True,
            help="act on these files only; as glob(7), and ** crosses directories",
        ),
        Option("--verbose", help="report each file that was opened so, and how many"),
        Option("--path", help="print the path of the shim, for LD_PRELOAD, and exit"),
    ],
    positional="COMMAND …",
    usage="[--for NAME] [--only GLOB]… [--verbose] [--] COMMAND [argument …]",
    stop_at_positional=True,
    runs_program=True,
    commands={"doctor": "kojuto.tools.no_excl_open:DOCTOR"},
    epilog="""
Only a regular file with one link is opened, and only where nobody else can have put it: never in a
directory that everybody may write to (/tmp). Wrappers and scripts pass the shim on; it acts in the
program and ends with it, and a warning says at the end when it never got there. Signals and the
exit status of COMMAND are passed on; 126 and 127 when it cannot be run or found. A build of kojuto
for musl (Alpine) has no shim: there the command says so and runs nothing.

  no-excl-open --only '/var/log/app/*.log' -- logrotate /etc/logrotate.conf
  no-excl-open -- nice /etc/cron.daily/logrotate
  no-excl-open doctor logrotate
""",
)  # fmt: skip

DOCTOR = Command(
    "no-excl-open doctor",
    "Says whether programs can be run under the shim by who asks (linked dynamically, not setuid), "
    "and finds the .backup files in which logrotate strands lines without it.",
    [
        FOR,
        Option(
            "--dir", metavar="DIR", repeat=True, default=("/var/log",),
            help="look for orphaned .backup files below this directory",
        ),
    ],
    positional="PROGRAM …",
    usage="[--for NAME] [--dir DIR]… [PROGRAM …]",
    epilog="Without PROGRAM it looks at logrotate; of a script, at what that starts.\n"
           "Exit status: 0 all well, 1 something was found.",
)  # fmt: skip


def _is_glibc() -> bool:
    """Whether Python's C library says to be glibc; musl has the name of the question, no answer."""
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (OSError, ValueError):
        return False


def shim_path() -> str:
    """Where ``no_excl_open.so`` lies."""
    path = os.path.join(os.path.dirname(kojuto.__file__), "no_excl_open.so")
    if not os.path.exists(path):
        if not _is_glibc():
            raise KojutoError(
                "this build of kojuto, for musl, has no shim: it is made for glibc alone",
                "run logrotate on a system with glibc; all other commands work here",
            )
        raise KojutoError(
            f"the shim {path} is missing", "install kojuto again; the wheel carries it"
        )
    return path


def _find(name: str) -> str | None:
    from shutil import which

    return which(name) or which(name, path="/usr/local/sbin:/usr/sbin:/sbin")


def _missing(name: str) -> tuple[str, int]:
    """Why `_find` has no program, and the exit status that says so."""
    if "/" in name and os.path.exists(name):
        return "not executable", NOT_EXECUTABLE
    return "command not found", NOT_FOUND


def _work(values: Values, positional: list[str]) -> int:
    shim = shim_path()
    if values.path:
        streams.print_whole(shim)
        return cli.DONE
    if not positional:
        raise UsageError("no command to run", "'no-excl-open --help' shows how to write one")
    if ":" in shim or " " in shim:
        raise KojutoError(f"{shim}: LD_PRELOAD cannot hold a path with a blank or colon")
    program = _find(positional[0])
    if program is None:
        why, status = _missing(positional[0])
        error = KojutoError(f"{positional[0]}: {why}")
        error.exit_status = status
        raise error
    from kojuto.tools.no_excl_open import elf, launch, scripts  # noqa: F401 (for the end)

    cli.stay()
    report = launch.Report()
    target = vars(values)["for"]
    environment = _environment(values, shim, target)
    if report.path is not None:
        environment["NO_EXCL_OPEN_REPORT"] = report.path
    if values.verbose:
        cli.complain("no-excl-open", f"running {' '.join([program, *positional[1:]])}")
    try:
        status = launch.run(program, positional, environment)
    except OSError as problem:
        report.close()
        error = KojutoError(f"{program}: {words(problem)}")
        error.exit_status = NOT_EXECUTABLE
        raise error from problem
    loaded, opened = report.close()
    if report.path is None:
        cli.complain(
            "no-excl-open",
            "warning: cannot tell whether the shim was loaded: no folder for a temporary file",
            "set TMPDIR",
        )
    elif not loaded:
        _never_loaded(target, program, positional)
    elif values.verbose:
        cli.complain(
            "no-excl-open",
            f"the shim was loaded into {target} ({_times(loaded)}) and opened a file that was "
            f"already there {_times(opened)}",
        )
    return launch.end_as(status)


def _environment(values: Values, shim: str, target: str) -> dict[str, str]:
    environment = dict(os.environ)
    others = environment.get("LD_PRELOAD", "")
    if shim not in others.replace(" ", ":").split(":"):
        environment["LD_PRELOAD"] = f"{shim}:{others}" if others else shim
    names = [target]
    path = _find(target)
    # A name may be a link to the program's file, which is called otherwise.
    if path is not None and os.path.basename(os.path.realpath(path)) != target:
        names.append(os.path.realpath(path))
    environment["NO_EXCL_OPEN_FOR"] = ":".join(names)
    environment.pop("NO_EXCL_OPEN_REPORT", None)
    if values.only:
        patterns = ":".join(values.only)
        if len(os.fsencode(patterns)) > MAX_PATTERNS_BYTES:
            raise UsageError(f"the patterns of --only have over {MAX_PATTERNS_BYTES} bytes")
        environment["NO_EXCL_OPEN_PATHS"] = patterns
    if values.verbose:
        environment["NO_EXCL_OPEN_VERBOSE"] = "1"
    return environment


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _never_loaded(target: str, program: str, command: list[str]) -> None:
    """Say that the shim did not act, and why if that can be seen."""
    from kojuto.tools.no_excl_open import scripts

    names = [os.path.basename(word) for word in command]
    path = program if names[0] == target else _find(target)
    reason = _why_not(target, path) if path else None
    hint = f"'no-excl-open doctor {command[0]}' looks into it; --for NAME names another program"
    if reason is None:
        end = names.index(target) if target in names else len(names)
        clears = scripts.what_clears(command[:end])
        reason = f"{command[0]} did not start it, or in an environment of its own"
        if clears is not None:
            reason = f"'{clears}' takes LD_PRELOAD away"
            hint = f"put no-excl-open behind it, before {target}"
    cli.complain(
        "no-excl-open", f"warning: the shim was never loaded into {target}: {reason}", hint
    )


def _why_not(name: str, path: str | None) -> str | None:
    """Why a program cannot be run under the shim; None when it can."""
    from kojuto.tools.no_excl_open.elf import why_not_preloadable

    try:
        return why_not_preloadable(path, shim_path()) if path else _missing(name)[0]
    except (OSError, KojutoError) as error:  # the shim itself may be gone by the end
        return words(error) if isinstance(error, OSError) else str(error)


def _why_not_behind(name: str) -> str | None:
    """Why a program that starts others does not pass the shim on to them."""
    from kojuto.tools.no_excl_open import scripts

    if os.path.basename(name) not in scripts.CLEARING:
        return None
    return "it takes LD_PRELOAD away from what it starts; put no-excl-open behind it"


def _why_not_started(path: str, target: str) -> str | None:
    """Why a script does not get the shim to the program; None when it does, or is no script."""
    from kojuto.tools.no_excl_open import scripts

    if not scripts.is_script(path):
        return None
    found = scripts.follow(path, target)
    if found is None:
        return f"nothing in it starts {target}"
    place, clears = found
    if clears is not None:
        return f"{place} starts {target} by '{clears}', which takes LD_PRELOAD away"
    return _why_not(target, _find(target))


def _doctor(values: Values, programs: list[str]) -> int:
    print(f"shim: {shim_path()}")
    ill = False
    for name in programs or ["logrotate"]:
        path = _find(name)
        reason = (
            _why_not(name, path)
            or _why_not_behind(name)
            or _why_not_started(path or name, vars(values)["for"])
        )
        ill = ill or reason is not None
        can = "can" if reason is None else "cannot"
        print(f"{path or name}: {can} be run under the shim" + (f": {reason}" if reason else ""))
    orphans = sorted(found for directory in values.dir for found in _orphans(directory))
    for orphan in orphans:
        print(f"{orphan}: stranded by logrotate; nothing rotates or removes it")
    if orphans:
        print(
            "advice: append what they hold to the log of the same name, oldest first, and remove "
            "them; then run logrotate as 'no-excl-open -- logrotate …'"
        )
    else:
        print(f"no orphaned .backup files below {', '.join(values.dir)}")
    return cli.FAILED if ill or orphans else cli.DONE


def _orphans(directory: str) -> list[str]:
    """Files named as logrotate names what it moves out of its way: ``NAME-YYYYMMDDHH.backup``."""
    if not os.path.isdir(directory):
        raise KojutoError(f"{directory}: no such directory", "--dir names where the logs are")
    found = []
    for place, _, names in os.walk(directory):
        for name in names:
            stem, _, date = name.removesuffix(".backup").rpartition("-")
            if name.endswith(".backup") and stem and len(date) == 10 and date.isdigit():
                found.append(os.path.join(place, name))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``no-excl-open`` and return its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments[:1] == ["doctor"]:
        return cli.run(DOCTOR, _doctor, arguments[1:])
    return cli.run(COMMAND, _work, arguments)


if __name__ == "__main__":
    sys.exit(main())
