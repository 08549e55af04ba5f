"""What a wheel says of that which is linked into it: the texts, and a bill of materials."""

from __future__ import annotations

import json
import textwrap
import uuid
from typing import TYPE_CHECKING, Any

from release.targets import version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from release.linked import Part
    from release.targets import Target

HEAD = """\
The module kojuto._native of this wheel ({platform}) holds, beside kojuto's own code, which is under
the licence in LICENSE, code of the following projects. Their terms and copyright notices stand
below, each text once, with the projects that bring it.
"""
RULE = "=" * 80


def texts(target: Target, parts: Iterable[Part]) -> str:
    """The notices of all parts as one document."""
    parts = list(parts)
    bringing: dict[str, tuple[str, list[str]]] = {}
    for part in parts:
        for text in part.texts:
            names = bringing.setdefault(" ".join(text.split()), (text, []))[1]
            if f"{part.name} {part.version}" not in names:
                names.append(f"{part.name} {part.version}")
    lines = [HEAD.format(platform=target.platform)]
    lines += [f"  {part.name} {part.version}: {part.licence}" for part in parts]
    for text, names in bringing.values():
        whose = textwrap.fill(", ".join(names), 80, break_on_hyphens=False)
        lines += ["", RULE, whose, RULE, "", textwrap.dedent(text).strip("\n").rstrip()]
    return "\n".join(line.rstrip() for line in "\n".join(lines).splitlines()) + "\n"


def bill(target: Target, parts: Iterable[Part]) -> str:
    """A software bill of materials as CycloneDX 1.6: no clock and no chance is in it."""
    components = [_component(part) for part in parts]
    ours = f"pkg:pypi/kojuto@{version()}"
    name = uuid.uuid5(uuid.NAMESPACE_URL, ours + target.platform + json.dumps(components))
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{name}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": ours,
                "name": "kojuto",
                "version": version(),
                "licenses": [{"license": {"id": "MIT"}}],
                "purl": ours,
                "properties": [{"name": "kojuto:platform", "value": target.platform}],
            }
        },
        "components": components,
        "dependencies": [{"ref": ours, "dependsOn": [part["bom-ref"] for part in components]}],
    }
    return json.dumps(document, indent=1) + "\n"


def _component(part: Part) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
    }
    if part.sha256 is not None:
        found["hashes"] = [{"alg": "SHA-256", "content": part.sha256}]
    return {**found, "licenses": [{"expression": part.licence}], "purl": part.purl}
