"""What is in the extension of a wheel that others wrote: crates, and what the tools add.

The crates are those of ``cargo tree`` for the target, without what only the build uses (build
scripts, macros). Rust adds its standard library; zig, which links, adds its compiler-rt and, for
glibc, its libunwind where a system has libgcc_s. Each part comes with the licence texts that it
brings along; a part without any is an error.
"""

from __future__ import annotations

import functools
import html
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from release.targets import ROOT, output

if TYPE_CHECKING:
    from release.targets import Target

NAMES = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")
OURS = ("kojuto-core", "kojuto-io", "kojuto-py", "no-excl-open")
NOT_SHIPPED = {"benches", "examples", "tests"}

# Crates that bring no text, and the licence that they state. Its text is then the one of Rust's
# collection; the file says whose it is, by the authors that the crate states.
WITHOUT_TEXT = {"flatbuffers": "Apache-2.0"}

# The rooms of Rust's own repository, and what only tests and macros use: no crates that are linked.
OF_RUST_ITSELF = {
    "alloc", "compiler_builtins", "core", "panic_abort", "panic_unwind", "proc_macro",
    "profiler_builtins", "rustc_std_workspace_alloc", "rustc_std_workspace_core",
    "rustc_std_workspace_std", "std", "std_detect", "sysroot", "test", "unwind",
    "getopts", "rustc_literal_escaper",
}  # fmt: skip


class Part(NamedTuple):
    """One of them."""

    name: str
    version: str
    licence: str
    """An SPDX expression."""
    purl: str
    """As a package URL, which tells where it is from."""
    sha256: str | None
    """Of the file that the registry gives for it."""
    texts: tuple[str, ...]
    """What it says of its licence and copyright."""


class MissingTextError(Exception):
    """A part without a text of its licence."""


@functools.cache
def parts(target: Target) -> tuple[Part, ...]:
    """All that is linked for a target, by name."""
    found = [*crates(target), *of_rust(target), *of_tools(target)]
    return tuple(sorted(found, key=lambda part: (part.name, part.version)))


def crates(target: Target) -> list[Part]:
    """The crates, without those of the workspace."""
    tree = output(
        "cargo", "tree", "--locked", "--package", "kojuto-py", "--target", target.triple,
        "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}",
    )  # fmt: skip
    wanted = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    document = json.loads(output("cargo", "metadata", "--locked", "--format-version", "1"))
    sums = _checksums()
    found = [
        _crate(package, sums)
        for package in document["packages"]
        if (package["name"], f"v{package['version']}") in wanted and package["source"]
    ]
    if len(found) + len(OURS) != len(wanted):
        raise ValueError(
            f"cargo tree has {len(wanted)} crates, cargo metadata {len(found)} of them"
        )
    return found


def _crate(package: dict[str, Any], sums: dict[tuple[str, str], str]) -> Part:
    name, version = package["name"], package["version"]
    licence = package["license"].replace("/", " OR ")
    texts = _texts(Path(package["manifest_path"]).parent)
    if not texts and name in WITHOUT_TEXT:
        holders = ", ".join(package["authors"]) or f"the authors of {name}"
        texts = (f"Copyright {holders}\n\n{_of_rusts_collection(WITHOUT_TEXT[name])}",)
    if not texts:
        raise MissingTextError(f"{name} {version} ({licence}) has no licence text")
    purl = f"pkg:cargo/{name}@{version}"
    return Part(name, version, licence, purl, sums[name, version], texts)


def _checksums() -> dict[tuple[str, str], str]:
    """Of each crate of Cargo.lock."""
    lock = (ROOT / "Cargo.lock").read_text()
    rows = re.findall(
        r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]+)"', lock
    )
    return {(name, version): checksum for name, version, checksum in rows}


def _texts(folder: Path) -> tuple[str, ...]:
    """What the files that are named as such say, those of sources within included."""
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.upper().startswith(NAMES) and path.suffix not in (".rs", ".c", ".h")
        if path.is_file() and not NOT_SHIPPED & set(path.relative_to(folder).parts)
    ]
    return tuple(path.read_text(errors="replace") for path in paths)


def _sysroot() -> Path:
    return Path(output("rustc", "--print", "sysroot").strip())


def _of_rusts_collection(licence: str) -> str:
    return (_sysroot() / f"share/doc/rust/licenses/{licence}.txt").read_text()


def of_rust(target: Target) -> list[Part]:
    """The standard library and the crates in it, which Rust's lists of copyrights describe."""
    version = output("rustc", "--version").split()[1]
    terms = map(_of_rusts_collection, ("MIT", "Apache-2.0", "Unicode-3.0"))
    own = Part(
        "rust-std", version, "(MIT OR Apache-2.0) AND Unicode-3.0",
        f"pkg:generic/rust-std@{version}", None,
        ("Copyright The Rust Project Developers (see https://thanks.rust-lang.org)\n"
         "Data of Unicode: Copyright 1991-2024 Unicode, Inc", *terms),
    )  # fmt: skip
    libraries = sorted((_sysroot() / f"lib/rustlib/{target.triple}/lib").glob("lib*.rlib"))
    if not libraries:
        raise FileNotFoundError(f"no standard library: rustup target add {target.triple}")
    listed = _listed()
    found = [own]
    for path in libraries:
        name = path.name[len("lib") :].rpartition("-")[0]
        if name not in OF_RUST_ITSELF:
            found.append(_in_rust(name, path, listed))
    return found


def _listed() -> dict[str, list[str]]:
    """What Rust's lists of copyrights say of each crate; that of the library comes first."""
    found: dict[str, list[str]] = {}
    for document in ("COPYRIGHT-library.html", "COPYRIGHT.html"):
        text = (_sysroot() / "share/doc/rust" / document).read_text()
        for block in re.split(r"<h3>📦 ", text)[1:]:
            name = re.split(r"-\d", block, maxsplit=1)[0]
            found.setdefault(name.replace("-", "_"), []).append(block)
    return found


def _in_rust(name: str, library: Path, listed: dict[str, list[str]]) -> Part:
    """A crate in the standard library: the version is the one in the paths of its source."""
    folder = re.search(
        rf"/rust/deps/({name.replace('_', '[-_]')})-(\d+\.\d+\.\d+)",
        (library.read_bytes() + library.with_suffix(".rmeta").read_bytes()).decode("latin-1"),
    )
    block = listed.get(name, [""])[0]
    licence = re.search(r"License:</b> ([^<]+)</p>", block)
    texts = re.findall(r"<pre>(.*?)</pre>", block, re.DOTALL)
    if folder is None or licence is None or not texts:
        raise MissingTextError(f"{name} of Rust's library has no version or no licence text")
    crate, version = folder.groups()
    return Part(
        crate, version, licence[1].replace("/", " OR "), f"pkg:cargo/{crate}@{version}", None,
        tuple(html.unescape(text) for text in texts),
    )  # fmt: skip


def of_tools(target: Target) -> list[Part]:
    """What the linker adds: zig's compiler-rt, and libunwind, which for musl is Rust's."""
    import importlib.metadata

    import ziglang

    zig = importlib.metadata.version("ziglang")
    folder = Path(ziglang.__file__).parent
    rust = output("rustc", "--version").split()[1]
    origin, version = ("ziglang", zig) if target.libc == "gnu" else ("rust-std", rust)
    return [
        Part(
            "zig-compiler-rt", zig, "MIT", f"pkg:pypi/ziglang@{zig}#lib/compiler_rt", None,
            ((folder / "LICENSE").read_text(),),
        ),
        Part(
            "llvm-libunwind", f"{version} of {origin}", "Apache-2.0 WITH LLVM-exception",
            f"pkg:generic/{origin}@{version}#libunwind", None,
            ((folder / "lib/libunwind/LICENSE.TXT").read_text(),),
        ),
    ]  # fmt: skip
