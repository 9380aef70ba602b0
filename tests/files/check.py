"""Runs batches over files that other programs write, and reads the outputs with other programs.

Every answer is that of the simulated model `echo`, which begins with a hash of the prompt: an answer beside another
row's columns is noticed.
"""

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import datasets  # noqa: E402
import duckdb  # noqa: E402
import openpyxl  # noqa: E402
import pandas as pd  # noqa: E402
import polars as pl  # noqa: E402

PROGRAM, WORK = sys.argv[1], Path(sys.argv[2])

TEXTS = ["plain", 'quotes "inside", commas', "two\nlines", "Ünïcode 🐻", "=1+1", "00501", "a;b\tc|d"]
ROWS = [
    {
        "text": text,
        "n": index,
        "part": index + 0.5,
        "is": index % 2 == 0,
        "day": dt.date(2024, 5, 1 + index),
        "maybe": None if index == 2 else index * 10,
    }
    for index, text in enumerate(TEXTS)
]


def run(source, output, *more):
    """Runs a batch over `source`, a path or several, to `output`."""
    sources = [source] if isinstance(source, (str, Path)) else source
    args = [PROGRAM, "batch", *map(str, sources), "-o", str(output), "-m", "sim/echo", "-q", *more]
    done = subprocess.run([*args, "-p", "{{ text }}"], capture_output=True, text=True)
    assert done.returncode == 0, f"{args}: {done.stderr}"


def answer_of(text):
    return f"{zlib.crc32(text.encode()):08x} {text}"


def check(source, expected, *more):
    """Checks the answers and the columns of the rows of `source`."""
    out = WORK / "out.jsonl"
    for path in [out, WORK / "out.jsonl.journal"]:
        path.unlink(missing_ok=True)
    run(source, out, "--columns", "all", *more)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == len(expected), f"{source}: {len(rows)} rows"
    for row, fields in zip(rows, expected, strict=True):
        assert row["answer"] == answer_of(fields["text"]), f"{source}: {row}"
        for name, value in fields.items():
            assert row["input"][name] == value, f"{source}: {name}: {row['input'][name]!r}, not {value!r}"
    print(f"read {len(rows)} rows: {source if isinstance(source, Path) else [str(path) for path in source]}")


def as_texts(rows, null="", true="True", false="False", date=str):
    """The rows as CSV has them."""

    def cell(value):
        match value:
            case None:
                return null
            case bool():
                return true if value else false
            case dt.date():
                return date(value)
            case _:
                return str(value)

    return [{name: cell(value) for name, value in row.items()} for row in rows]


def typed(**changes):
    """The rows as formats with types have them."""
    rows = [dict(row, day=str(row["day"])) for row in ROWS]
    return [row | {name: change(row[name]) for name, change in changes.items()} for row in rows]


def inputs():
    frame = pd.DataFrame(ROWS)
    # A column of integers with a gap is one of floats, unless it is nullable.
    frame["maybe"] = frame["maybe"].astype("Int64")
    csv = as_texts(ROWS)

    frame.to_csv(WORK / "pandas.csv")
    check(WORK / "pandas.csv", csv)
    frame.to_csv(WORK / "pandas-gz.csv.gz", index=False, sep=";")
    check(WORK / "pandas-gz.csv.gz", csv)
    frame.to_csv(WORK / "pandas.tsv", index=False, sep="\t")
    check(WORK / "pandas.tsv", csv)
    # Without a byte order mark, the encoding has to be named.
    western = frame[frame.text.str.isascii()]
    western.to_csv(WORK / "western.csv", index=False, encoding="utf-16")
    check(WORK / "western.csv", as_texts([row for row in ROWS if row["text"].isascii()]))
    frame.to_json(WORK / "pandas-lines.jsonl", orient="records", lines=True)
    frame.to_json(WORK / "pandas-list.json", orient="records", indent=2)
    for name in ["pandas-lines.jsonl", "pandas-list.json"]:
        check(WORK / name, [{name: row[name] for name in ("text", "n", "part", "is", "maybe")} for row in ROWS])
    (WORK / "mac.csv").write_bytes(frame[["text", "n"]].iloc[[0, 1, 3]].to_csv(index=False).encode().replace(b"\n", b"\r"))
    check(WORK / "mac.csv", [{"text": TEXTS[n], "n": str(n)} for n in (0, 1, 3)])
    times = pd.DataFrame({"text": TEXTS[:2], "at": pd.to_datetime(["2024-05-01 12:30:00.0", "2024-05-02 00:00:00.5"])})
    times["utc"] = times["at"].dt.tz_localize("UTC")
    for unit in ["ms", "us", "ns"]:
        times.astype({"at": f"datetime64[{unit}]", "utc": f"datetime64[{unit}, UTC]"}).to_parquet(WORK / f"{unit}.parquet")
        texts = ["2024-05-01T12:30:00", "2024-05-02T00:00:00.5"]
        check(WORK / f"{unit}.parquet", [{"text": TEXTS[n], "at": at, "utc": at + "Z"} for n, at in enumerate(texts)])
    frame.to_parquet(WORK / "pandas.parquet")
    check(WORK / "pandas.parquet", [{k: v for k, v in row.items() if k != "day"} for row in ROWS])
    whole = typed(maybe=lambda value: "" if value is None else value)
    # pandas writes a text that begins with = as a formula.
    plain_texts = [row for row in whole if not row["text"].startswith("=")]
    frame[~frame.text.str.startswith("=")].to_excel(WORK / "pandas.xlsx")
    check(WORK / "pandas.xlsx", plain_texts)

    book = openpyxl.Workbook()
    book.active.title = "notes"
    sheet = book.create_sheet("rows")
    sheet.append(list(ROWS[0]))
    for row in ROWS:
        sheet.append(list(row.values()))
    # Formulas have no values until a spreadsheet computes them; texts that begin like one are texts.
    sheet.cell(6, 1).data_type = "s"
    book.save(WORK / "openpyxl.xlsx")
    check(WORK / "openpyxl.xlsx", whole, "--sheet", "rows")

    lazy = pl.DataFrame(ROWS)
    lazy.write_csv(WORK / "polars.csv")
    check(WORK / "polars.csv", as_texts(ROWS, true="true", false="false"))
    lazy.write_ndjson(WORK / "polars.ndjson")
    check(WORK / "polars.ndjson", typed())
    without_day = [{k: v for k, v in row.items() if k != "day"} for row in ROWS]
    for compression in ["uncompressed", "snappy", "gzip", "zstd", "lz4", "brotli"]:
        lazy.write_parquet(WORK / f"{compression}.parquet", compression=compression)
        check(WORK / f"{compression}.parquet", without_day)
    lazy.write_csv(WORK / "windows.csv", include_bom=True, line_terminator="\r\n", quote_style="always")
    check(WORK / "windows.csv", as_texts(ROWS, true="true", false="false"))

    database = duckdb.connect()
    database.register("frame", frame)
    for name, options in [("duckdb.csv", "HEADER"), ("duckdb.json", "FORMAT json"), ("duckdb.parquet", "FORMAT parquet")]:
        fields = "text, n, part, \"is\", maybe"
        database.execute(f"COPY (SELECT {fields} FROM frame) TO '{WORK / name}' ({options})")
    plain = [{name: row[name] for name in ("text", "n", "part", "is", "maybe")} for row in ROWS]
    check(WORK / "duckdb.csv", as_texts(plain, true="true", false="false"))
    check(WORK / "duckdb.json", plain)
    check(WORK / "duckdb.parquet", plain)

    lists = [row | {"tags": ["a", row["text"]], "nested": {"n": row["n"]}} for row in plain]
    data = datasets.Dataset.from_list(lists)
    data.to_parquet(WORK / "datasets.parquet")
    check(WORK / "datasets.parquet", lists)
    data.to_json(WORK / "datasets.jsonl")
    check(WORK / "datasets.jsonl", lists)

    check([WORK / "pandas.csv", WORK / "duckdb.json", WORK / "pandas.xlsx"], csv + plain + plain_texts)


def outputs():
    expected = [answer_of(text) for text in TEXTS]
    source = WORK / "openpyxl.xlsx"
    more = ["--sheet", "rows", "--columns", "all"]
    for name in ["answers.xlsx", "answers.csv", "answers.tsv", "answers.parquet"]:
        run(source, WORK / name, *more)

    frame = pd.read_excel(WORK / "answers.xlsx")
    assert list(frame.answer) == expected, frame.answer
    assert list(frame.text) == ["plain", *TEXTS[1:5], "00501", TEXTS[6]], list(frame.text)
    assert list(frame.n) == [row["n"] for row in ROWS] and list(frame.part) == [row["part"] for row in ROWS]
    assert pd.isna(frame.maybe[2]) and frame.maybe[3] == 30
    assert frame["is"].dtype == bool and (frame.input_tokens > 0).all()
    assert [day.date() for day in frame.day] == [row["day"] for row in ROWS], "dates stay dates"
    cells = openpyxl.load_workbook(WORK / "answers.xlsx")["answers"]
    assert cells.max_row == len(ROWS) + 1
    assert [cell.data_type for cell in cells["A"]] == ["s"] * (len(ROWS) + 1), "a text is never a formula"

    def guarded(text):
        return "'" + text if text.startswith("=") else text

    for name, options in [("answers.csv", {}), ("answers.tsv", {"sep": "\t"})]:
        frame = pd.read_csv(WORK / name, dtype=str, keep_default_na=False, **options)
        assert list(frame.answer) == expected, name
        assert list(frame.text) == [guarded(text) for text in TEXTS], name
    table = pl.read_parquet(WORK / "answers.parquet")
    assert table["answer"].to_list() == expected and table["text"].to_list() == TEXTS
    run(WORK / "pandas.parquet", WORK / "typed.parquet", "--columns", "all")
    typed_table = pl.read_parquet(WORK / "typed.parquet")
    assert (typed_table["n"].to_list(), typed_table["is"].to_list()) == ([row["n"] for row in ROWS], [row["is"] for row in ROWS])
    query = f"SELECT answer FROM '{WORK / 'answers.parquet'}' ORDER BY index"
    assert [row[0] for row in duckdb.sql(query).fetchall()] == expected
    print("pandas, openpyxl, polars and DuckDB read the outputs")


if __name__ == "__main__":
    datasets.disable_progress_bars()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    inputs()
    outputs()
