"""Data frames: their columns as lists, and the same frames with further columns."""

from __future__ import annotations

import math
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_JSON = (str, int, bool, type(None))


class Frame:
    """A data frame of any package."""

    def __init__(self, frame: Any) -> None:
        self.frame = frame

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.frame)

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return list(self.frame.columns)

    def column(self, name: str) -> list[Any]:
        """The values of a column as JSON values."""
        raise NotImplementedError

    def with_columns(self, columns: Mapping[str, tuple[str, list[Any]]]) -> Any:
        """The frame with further columns: their kinds, `text`, `int`, `float` or `any`, and their values."""
        raise NotImplementedError


class _Pandas(Frame):
    def column(self, name: str) -> list[Any]:
        series = self.frame[name]
        values = series.tolist()
        if series.isna().any():
            values = [
                None if is_null else value for value, is_null in zip(values, series.isna(), strict=True)
            ]
        return _plain(values)

    def with_columns(self, columns: Mapping[str, tuple[str, list[Any]]]) -> Any:
        import pandas as pd

        types = {"int": "int64", "float": "float64", "any": "object", "text": "object"}
        new = {
            name: pd.Series(values, index=self.frame.index, dtype=types[kind])
            for name, (kind, values) in columns.items()
        }
        return self.frame.assign(**new)


class _Polars(Frame):
    def column(self, name: str) -> list[Any]:
        return _plain(self.frame.get_column(name).to_list())

    def with_columns(self, columns: Mapping[str, tuple[str, list[Any]]]) -> Any:
        import polars as pl

        types = {"int": pl.Int64, "float": pl.Float64, "text": pl.String, "any": None}
        return self.frame.with_columns(
            [
                pl.Series(name, values, dtype=types[kind], strict=False)
                for name, (kind, values) in columns.items()
            ]
        )


class _Arrow(Frame):
    @property
    def names(self) -> list[str]:
        return list(self.frame.column_names)

    def column(self, name: str) -> list[Any]:
        return _plain(self.frame.column(name).to_pylist())

    def with_columns(self, columns: Mapping[str, tuple[str, list[Any]]]) -> Any:
        import pyarrow as pa

        types = {"int": pa.int64(), "float": pa.float64(), "text": pa.string(), "any": None}
        table = self.frame
        for name, (kind, values) in columns.items():
            table = table.append_column(name, pa.array(values, type=types[kind]))
        return table


def frame_of(rows: Any) -> Frame | None:
    """The data frame that a value is, or None."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(rows, pandas.DataFrame):
        return _Pandas(rows)
    polars = sys.modules.get("polars")
    if polars is not None and isinstance(rows, polars.LazyFrame):
        return _Polars(rows.collect())
    if polars is not None and isinstance(rows, polars.DataFrame):
        return _Polars(rows)
    has_stream = hasattr(rows, "__arrow_c_stream__")
    kind = type(rows).__name__
    if kind in ("Series", "ChunkedArray") or (hasattr(rows, "__arrow_c_array__") and not has_stream):
        message = f"rows must be a frame, got one column of the type {kind}: give its frame, or its values as a list"
        raise TypeError(message)
    if not has_stream:
        return None
    try:
        import pyarrow as pa
    except ImportError:
        try:
            import polars as pl
        except ImportError:
            from ._errors import ConfigError

            message = "a table of Arrow needs the package pyarrow or polars: install one of them"
            raise ConfigError(message, kind="config") from None
        return _Polars(pl.DataFrame(rows))
    return _Arrow(rows if isinstance(rows, pa.Table) else pa.table(rows))


# Packages whose values have a JSON form: numbers and arrays, dates, identifiers.
_PACKAGES = ("datetime", "decimal", "numpy", "pandas", "uuid")


def plain_field(value: Any) -> Any:
    """A field of a row with the values of these packages as JSON values, as those of a frame. Others stay."""
    if type(value) in _JSON:
        return value
    if isinstance(value, dict):
        return {name: plain_field(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_field(each) for each in value]
    return _plain_value(value) if type(value).__module__.partition(".")[0] in _PACKAGES else value


def _plain(values: Sequence[Any]) -> list[Any]:
    return [value if type(value) in _JSON else _plain_value(value) for value in values]


def _plain_value(value: Any) -> Any:
    """The JSON form of a cell: dates and the like as texts."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, dict):
        return {str(name): _plain_value(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_value(each) for each in value]
    if value is None:
        return None
    if hasattr(value, "tolist"):
        # A number or an array of numpy.
        return _plain_value(value.tolist())
    return str(value)
