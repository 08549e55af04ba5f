"""The completion of all commands for zsh, in one file that compinit finds by its first line."""

from __future__ import annotations

from kojuto.tools.install import words
from kojuto.tools.install.words import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from kojuto.common.cli import Option
    from kojuto.tools.install.tree import Node

ACTIONS = {
    words.FILE: "_files",
    words.DIRECTORY: "_files -/",
    words.HOST: "_hosts",
}
TAIL = """
# Loaded by compinit it is a function's body, which does what it was called for.
if [[ $funcstack[1] == _kojuto ]]; then
    _kojuto_dispatch "$@"
else
    compdef _kojuto_dispatch {names}
fi
"""


def script(programs: list[Node], behind: dict[str, Node]) -> str:
    """The file.

    Args:
        programs: all commands, ``kojuto`` first.
        behind: what may follow the word ``kojuto``.
    """
    names = " ".join(node.name for node in programs)
    parts = [f"#compdef {names}\n\n# zsh completion for the commands of kojuto\n"]
    for program in programs:
        parts += [
            _function(node, behind if node is programs[0] else node.nodes) for node in program.all()
        ]
    parts.append(_dispatch(programs))
    return "\n".join(parts) + TAIL.replace("{names}", names)


def _dispatch(programs: list[Node]) -> str:
    lines = ["_kojuto_dispatch() {", "    case ${service:-${words[1]:t}} in"]
    lines += [f'    {node.name}) {_name(node)} "$@" ;;' for node in programs]
    return "\n".join([*lines, "    esac", "}"])


def _name(node: Node) -> str:
    return "_kojuto__" + node.name.replace(" ", "__").replace("-", "_")


def _function(node: Node, below: dict[str, Node]) -> str:
    command = node.command
    specs = [spec for option in command.options for spec in _specs(option)]
    arguments = words.of_arguments(command)
    lines = [f"{_name(node)}() {{", "    local curcontext=$curcontext state line"]
    if not below:
        called = _escaped(command.positional or "")
        if isinstance(arguments, str):
            specs.append(f"*:{called}:{ACTIONS[arguments]}")
        elif arguments:
            specs.append(f"1:{called}:({' '.join(arguments)})")
        return "\n".join([*lines, _call(specs, "-S"), "}", ""])
    specs += ["1: :->command", "*:: :->rest"]
    lines += ["    typeset -A opt_args", _call(specs, "-S -C") + " && return 0"]
    lines += ["    case $state in", "    command)", "        local -a below=("]
    lines += [
        f"            {quoted(f'{word}:{each.about}')}" for word, each in sorted(below.items())
    ]
    lines.append("        )")
    lines.append("        _describe -t commands command below")
    if arguments == words.COMMAND_LINE:
        lines.append("        _command_names -e")
    lines += ["        ;;", "    rest)"]
    if arguments == words.COMMAND_LINE:
        lines.append("        [[ $words[1] == -- ]] && shift words && ((CURRENT--))")
    lines.append("        case $words[1] in")
    by_function: dict[str, list[str]] = {}
    for word, each in below.items():
        by_function.setdefault(_name(each), []).append(word)
    for name, spellings in by_function.items():
        lines.append(f"        {' | '.join(spellings)}) {name} ;;")
    if arguments == words.COMMAND_LINE:
        lines.append("        *) _normal ;;")
    elif isinstance(arguments, str):
        lines.append(f"        *) {ACTIONS[arguments]} ;;")
    return "\n".join([*lines, "        esac", "        ;;", "    esac", "}", ""])


def _call(specs: list[str], flags: str) -> str:
    rows = " \\\n".join("        " + quoted(spec) for spec in specs)
    return f"    _arguments -s {flags} : \\\n{rows}"


def _specs(option: Option) -> Iterable[str]:
    """One for each name; those of one option shut each other out, unless it is repeatable."""
    what = f"[{_escaped(option.help)}]"
    value = "" if option.metavar is None else f":{_escaped(option.metavar)}:{_action(option)}"
    for name in option.names:
        sign = "" if option.metavar is None else "=" if words.is_long(name) else "+"
        if option.bare is not None:
            sign = "=-" if words.is_long(name) else "-"
        others = "*" if option.repeat else f"({' '.join(option.names)})"
        yield f"{others}{name}{sign}{what}{':' if option.bare is not None else ''}{value}"


def _action(option: Option) -> str:
    values = words.of_value(option)
    if isinstance(values, str):
        return ACTIONS[values]
    return f"({' '.join(value.replace(':', chr(92) + ':') for value in values)})" if values else ""


def _escaped(text: str) -> str:
    """`text` as a part of what _arguments takes."""
    for character in "\\[]:":
        text = text.replace(character, "\\" + character)
    return text
