"""The completion of all commands for bash (3.2 and later), in one file that needs no other.

bash-completion finds it by the name of the command, so that there is a link for each.
"""

from __future__ import annotations

from kojuto.tools.install import words
from kojuto.tools.install.words import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from kojuto.tools.install.tree import Node

HEAD = """\
# bash completion for the commands of kojuto

# What is typed after the command $at: the option whose value comes next, or an argument.
"""

BODY = r"""
# Offer the words of $1 that begin with what is typed, file names or what else $1 calls.
_kojuto_offer() {
    local IFS=$'\n'
    case $1 in
    file)
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$cur"))
        ;;
    directory)
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -d -- "$cur"))
        ;;
    host) COMPREPLY=($(compgen -A hostname -- "$cur")) ;;
    *) COMPREPLY=($(compgen -W "${1// /$IFS}" -- "$cur")) ;;
    esac
}

# Go on with the command line of another program, which begins at word $1.
_kojuto_program() {
    if declare -F _comp_command_offset >/dev/null; then
        _comp_command_offset "$1"
    elif declare -F _command_offset >/dev/null; then
        _command_offset "$1"
    elif ((COMP_CWORD == $1)); then
        COMPREPLY=($(compgen -c -- "$cur"))
    else
        _kojuto_offer file
    fi
}

_kojuto() {
    local at=${1##*/} cur=${COMP_WORDS[COMP_CWORD]} word before= value= ended= first=0 i
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == '=' && -n $before ]]; then # --name=value comes in three words
            value=$before before=
            continue
        fi
        before=
        if [[ -n $value ]]; then
            value=
        elif [[ -z $ended && $word == -- ]]; then
            ended=1
        elif [[ -z $ended && $word == -?* && $first == 0 ]]; then
            before=$word
            _kojuto_takes_next "$at" "$word" && value=$word
        elif [[ $first == 0 ]] && ! _kojuto_command "$at" "$word"; then
            first=$i
            _kojuto_runs_program "$at" && break
            first=0
        fi
    done
    if ((first)); then
        _kojuto_program "$first"
        return
    fi
    if [[ $cur == '=' && -n $before ]]; then
        value=$before cur=
    elif [[ $cur == --*=* ]]; then # where = does not end a word (COMP_WORDBREAKS)
        value=${cur%%=*} cur=${cur#*=}
        _kojuto_offer "$(_kojuto_values "$at" "$value")"
        COMPREPLY=("${COMPREPLY[@]/#/$value=}")
        return
    fi
    if [[ -n $value ]]; then
        _kojuto_offer "$(_kojuto_values "$at" "$value")"
    elif [[ -z $ended && $cur == -* ]]; then
        _kojuto_offer "$(_kojuto_options "$at")"
    elif _kojuto_runs_program "$at" && [[ -n $ended ]]; then
        _kojuto_program "$COMP_CWORD"
    else
        _kojuto_offer "$(_kojuto_arguments "$at")"
        if _kojuto_runs_program "$at"; then
            COMPREPLY+=($(compgen -c -- "$cur"))
        fi
    fi
}
"""


def script(programs: list[Node], behind: dict[str, Node]) -> str:
    """The file.

    Args:
        programs: all commands, ``kojuto`` first.
        behind: what may follow the word ``kojuto``.
    """
    nodes = [node for each in programs for node in each.all()]
    names = " ".join(node.name for node in programs)
    functions = [
        _case("takes_next", _takes_next(nodes)),
        _case("command", _commands(nodes, behind)),
        _case("runs_program", ((n.name, "return 0") for n in nodes if n.command.runs_program), 1),
        _case("options", ((n.name, f"echo {quoted(_options(n))}") for n in nodes), 1),
        _case("values", _values(nodes)),
        _case("arguments", _arguments(nodes, behind), 1),
    ]
    return HEAD + "\n".join(functions) + BODY + f"\ncomplete -F _kojuto {names}\n"


def _case(name: str, cases: Iterator[tuple[str, str]], words_in: int = 2) -> str:
    """A function that asks which of the cases its arguments are; those with one answer are one."""
    by_answer: dict[str, list[str]] = {}
    for pattern, answer in cases:
        by_answer.setdefault(answer, []).append(pattern)
    subject = '"$1"' if words_in == 1 else '"$1 $2"'
    lines = [f"_kojuto_{name}() {{", f"    case {subject} in"]
    for answer, patterns in by_answer.items():
        lines += [f"    {' | '.join(map(quoted, dict.fromkeys(patterns)))}) {answer} ;;"]
    return "\n".join([*lines, "    *) return 1 ;;", "    esac", "}", ""])


def _takes_next(nodes: list[Node]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        for option in node.command.options:
            if words.takes_next(option):
                yield from ((f"{node.name} {name}", "return 0") for name in option.names)


def _commands(nodes: list[Node], behind: dict[str, Node]) -> Iterator[tuple[str, str]]:
    yield from ((f"kojuto {word}", f"at={quoted(node.name)}") for word, node in behind.items())
    for node in nodes[1:]:
        for word, below in node.nodes.items():
            yield f"{node.name} {word}", f"at={quoted(below.name)}"


def _options(node: Node) -> str:
    return " ".join(name for option in node.command.options for name in option.names)


def _values(nodes: list[Node]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        for option in node.command.options:
            values = words.of_value(option)
            if values:
                answer = f"echo {quoted(values if isinstance(values, str) else ' '.join(values))}"
                yield from ((f"{node.name} {name}", answer) for name in option.names)


def _arguments(nodes: list[Node], behind: dict[str, Node]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        arguments = words.of_arguments(node.command)
        own = behind if node is nodes[0] else node.nodes
        if isinstance(arguments, tuple) or own:
            arguments = " ".join([*own, *(arguments if isinstance(arguments, tuple) else ())])
        if arguments:
            yield node.name, f"echo {quoted(arguments)}"
