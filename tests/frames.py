"""Arrow's streams as DuckDB and pandas read them."""

from __future__ import annotations

from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa


def asked(query: str, **tables: object) -> list[tuple[Any, ...]]:
    """The rows of a query of tables by their names."""
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return connection.execute(query).fetchall()


def pandas_of(stream: Any) -> pd.DataFrame:
    """The frame of a stream: pandas reads it from 3.0 on, before that pyarrow does for it."""
    read = getattr(pd.DataFrame, "from_arrow", None)
    frame: pd.DataFrame = pa.table(stream).to_pandas() if read is None else read(stream)
    return frame
