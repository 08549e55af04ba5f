"""A MariaDB for the lines that are shown, with sessions that wait and one that has others wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conftest import need_program, wait_until

if TYPE_CHECKING:
    from tests.peers.systemd import Systemd

SETUP = """
set -e
mkdir -p /run/mysqld /srv/mysql
mariadb-install-db --no-defaults --user=root --datadir=/srv/mysql --skip-test-db \\
    --auth-root-authentication-method=normal --innodb-use-native-aio=0 >/dev/null
systemd-run --quiet --unit=database mariadbd --no-defaults --user=root --datadir=/srv/mysql \\
    --socket=/run/mysqld/mysqld.sock --skip-networking --innodb-use-native-aio=0
"""
TABLE = """
create user app; create database shop; grant all on shop.* to app;
create table shop.orders (id int primary key, note text); insert into shop.orders values (1, '');
"""
LOCKS = "begin; update orders set note = 'a'; select sleep(6000)"
WAITS = "set innodb_lock_wait_timeout = 6000; update orders set note = 'b'"
WAITING = "select count(*) from information_schema.processlist where state = 'Updating' and time"
SESSION = ["systemd-run", "--quiet", "--property=Restart=always", "mariadb", "-u", "app", "shop"]


def start(machine: Systemd) -> None:
    """Have it serve at Debian's socket, where root needs no password."""
    for program in ("mariadb", "mariadbd", "mariadb-install-db"):
        need_program(program)
    machine.run("bash", "-c", SETUP)
    asked = ("mariadb", "-N", "-e", WAITING)
    wait_until(lambda: machine.run(*asked, check=False), what="MariaDB answers")
    machine.run("mariadb", stdin=TABLE)
    for statements in (LOCKS, WAITS):
        machine.run(*SESSION, "-e", statements)
    wait_until(lambda: machine.run(*asked).strip() == "1", what="one waits for the other")
