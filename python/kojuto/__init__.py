"""The toolbox of a site-reliability engineer: ops commands on a Rust core.

Each command lives in ``kojuto.tools`` under its own name; ``kojuto.commands`` lists them.
"""

__version__ = "0.1.0"
