"""Reports of hosts that serve the same 40 endpoints, by dice."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from kojuto import report

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINTS = 40
DAY_S = 86_400
BEGAN_S = 1_795_910_400


def log_of(host: int, lines: int) -> str:
    """A day of a host: endpoints by Zipf, times by the endpoint and log-normal, some errors."""
    dice = random.Random(host)
    weights = [1 / (rank + 1) for rank in range(ENDPOINTS)]
    endpoints = dice.choices(range(ENDPOINTS), weights, k=lines)
    return "".join(
        f"time:{BEGAN_S + n * DAY_S // lines}\tvhost:www.example.com\tmethod:GET"
        f"\turi:/section{at // 8}/{'abcdefgh'[at % 8]}/{n}?page={n % 7}"
        f"\tstatus:{500 if n % 211 == 0 else 404 if n % 97 == 0 else 200}"
        f"\tsize:{n * 31 % 9000}\treqtime:{dice.lognormvariate(-5 + at / 12, 0.8):.3f}\n"
        for n, at in enumerate(endpoints)
    )


def saved(folder: Path, host: int, lines: int) -> Path:
    """The file of the report of a host."""
    path = folder / f"host{host:04}-{lines}.kjr"
    if not path.exists():
        log = folder / f"host{host:04}.log"
        log.write_text(log_of(host, lines))
        report.scan(log).save(path)
        log.unlink()
    return path
