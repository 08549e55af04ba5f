"""``myps grep``."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pymysql

from kojuto.common import cli
from kojuto.common.cli import complain
from kojuto.errors import KojutoError
from kojuto.tools.myps.connect import Target, server_words
from kojuto.tools.myps.processes import Server, own_alone
from kojuto.tools.myps.show import show

if TYPE_CHECKING:
    from kojuto.common.cli import Values


def grep(values: Values) -> int:
    """List the threads that match; status 1 without any."""
    target = Target(values)
    try:
        with closing(target.connect()) as connection:
            server = Server(connection, values.debug)
            found = server.match(values)
            if server.sees_own_alone(found, target.user):
                complain("myps", *own_alone(target.user))
    except pymysql.err.MySQLError as error:
        raise KojutoError(f"{target.address}: {server_words(error)}") from error
    for process in found:
        show(process, "ID", full=values.full, output=values.output)
    return cli.DONE if found else cli.FAILED
