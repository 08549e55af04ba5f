"""The completion of each command for fish (3.1 and later)."""

from __future__ import annotations

from kojuto.tools.install import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from kojuto.common.cli import Option
    from kojuto.tools.install.tree import Node

FLAGS = {
    words.FILE: "-rF",
    words.DIRECTORY: "-xa '(__fish_complete_directories)'",
    words.HOST: "-xa '(__fish_print_hostnames)'",
}
ANOTHER = "another"
AT = """\
# fish completion for {program}

# The command to which the next word belongs; '{another}' when it is one of another program's.
function {name}_at
    set -l at '{program}'
    set -l takes no
    set -l typed (commandline -opc)
    for i in (seq 2 (count $typed))
        if test $takes = yes
            set takes no
            continue
        end
        switch "$at $typed[$i]"
{cases}
        end
    end
    echo $at
end
"""
REST = """
# What completes the command line of that program.
function {name}_rest
    set -l line $__kojuto_rest
    switch $line[1]
{cases}
    end
    complete -C (string join ' ' -- (string escape -- $line) (commandline -ct))
end
"""


def script(program: Node, behind: dict[str, Node]) -> str:
    """The file of one program.

    Args:
        program: the command.
        behind: what may follow the word ``kojuto``, for that one; else nothing.
    """
    name = "__kojuto_" + program.name.replace("-", "_")
    nodes = list(program.all())
    others = {w: node for w, node in behind.items() if node not in nodes}
    cases = "\n".join(_cases(nodes, others))
    parts = [AT.format(name=name, program=program.name, cases=cases, another=ANOTHER)]
    goes_on = others or any(node.command.runs_program for node in nodes)
    if goes_on:
        renamed = [(w, n.name) for w, n in others.items() if w != n.name]
        lines = [line for w, n in renamed for line in (f"        case {w}", f"set line[1] {n}")]
        lines = [each if each.startswith(" ") else "            " + each for each in lines]
        parts.append(REST.format(name=name, cases="\n".join(lines)))
    parts.append(f"complete -c {program.name} -f")
    if goes_on:
        parts.append(f"{_line(program.name, name, ANOTHER)} -xa '({name}_rest)'")
    for node in nodes:
        start = _line(program.name, name, node.name)
        below = {**node.nodes, **others} if node is program else node.nodes
        parts += [f"{start} -xa {w} -d {_quoted(n.about)}" for w, n in below.items()]
        parts += [f"{start} {words_}" for words_ in _arguments(node)]
        parts += [f"{start} {_option(option)}" for option in node.command.options]
    return "\n".join(parts) + "\n"


def _cases(nodes: list[Node], others: dict[str, Node]) -> Iterator[str]:
    """The cases of the switch over what was typed."""
    taking = [
        _quoted(f"{node.name} {name}")
        for node in nodes
        for option in node.command.options
        if words.takes_next(option)
        for name in option.names
    ]
    if taking:
        yield from (f"            case {' '.join(taking)}", "                set takes yes")
    for node in nodes:
        for word, below in node.nodes.items():
            yield f"            case {_quoted(f'{node.name} {word}')}"
            yield f"                set at {_quoted(below.name)}"
    goes_on = [_quoted(f"{nodes[0].name} {word}") for word in others]
    goes_on += [_quoted(f"{node.name} *") for node in nodes if node.command.runs_program]
    if not goes_on:
        return
    for node in nodes:
        if node.command.runs_program:
            yield f"            case {_quoted(f'{node.name} -*')}"
    yield f"            case {' '.join(goes_on)}"
    yield "                set -g __kojuto_rest $typed[$i..-1]"
    yield f"                echo {ANOTHER}"
    yield "                return"


def _line(program: str, name: str, at: str) -> str:
    return f"complete -c {program} -n 'test ({name}_at) = \"{at}\"'"


def _arguments(node: Node) -> Iterator[str]:
    arguments = words.of_arguments(node.command)
    if arguments == words.COMMAND_LINE:
        yield "-xa '(__fish_complete_command)'"
    elif isinstance(arguments, str):
        yield {words.FILE: "-F"}.get(arguments) or FLAGS[arguments].replace("-xa", "-fa")
    elif arguments:
        yield f"-fa {_quoted(' '.join(arguments))}"


def _option(option: Option) -> str:
    named = [f"-l {name[2:]}" if words.is_long(name) else f"-s {name[1:]}" for name in option.names]
    values = words.of_value(option)
    if isinstance(values, str):
        named.append(FLAGS[values])
    elif values:
        named.append(f"-{'x' if words.takes_next(option) else 'f'}a {_quoted(' '.join(values))}")
    elif words.takes_next(option):
        named.append("-x")
    return f"{' '.join(named)} -d {_quoted(option.help)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
