"""Batches over files that other programs wrote, and answers read by these programs.

    inputs.py FANWEAVE FOLDER

Every file has the same rows. Each is given to a batch whose prompt contains its values; the model repeats the prompt, so
the answer shows what was read. Answers are then joined to the rows again by each program.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import duckdb
import openpyxl
import pandas as pd
import polars as pl

ROWS = [
    {"id": "r1", "text": "plain", "n": 1, "score": 0.5, "ok": True, "day": datetime.date(2026, 2, 28)},
    {"id": "r2", "text": 'a "quoted", text', "n": -2, "score": 1e-7, "ok": False, "day": datetime.date(1999, 12, 31)},
    {"id": "r3", "text": "two\nlines\tand a tab", "n": 9007199254740993, "score": 3.25, "ok": True, "day": datetime.date(2026, 1, 1)},
    {"id": "r4", "text": "Grüße, 東京 🌊", "n": 0, "score": -12.75, "ok": False, "day": datetime.date(2024, 2, 29)},
    {"id": "r5", "text": "+49 30 1234", "n": 7, "score": 100.5, "ok": True, "day": datetime.date(2026, 6, 1)},
    {"id": "r6", "text": "it's {{ braces }} and \\ too", "n": 12, "score": 2.5, "ok": True, "day": datetime.date(2026, 6, 2)},
]
COLUMNS = list(ROWS[0])


def pandas_frame() -> pd.DataFrame:
    return pd.DataFrame(ROWS)


def polars_frame() -> pl.DataFrame:
    return pl.DataFrame(ROWS)


def duckdb_copy(to: Path, options: str) -> None:
    frame = pandas_frame()  # noqa: F841  DuckDB finds it by its name.
    duckdb.sql(f"COPY (SELECT * REPLACE (CAST(day AS DATE) AS day) FROM frame) TO '{to}' ({options})")


def hugging_face() -> datasets.Dataset:
    return datasets.Dataset.from_list([{**row, "day": str(row["day"])} for row in ROWS])


def json_rows() -> str:
    return json.dumps([{**row, "day": str(row["day"])} for row in ROWS], indent=2, ensure_ascii=False)


def workbook(path: Path) -> list[dict[str, object]]:
    names, *rows = openpyxl.load_workbook(path, read_only=True).active.iter_rows(values_only=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


WRITERS: dict[str, Callable[[Path], object]] = {
    "pandas.csv": lambda to: pandas_frame().to_csv(to, index=False),
    "pandas.index.csv": lambda to: pandas_frame().to_csv(to),
    "pandas.semicolon.csv": lambda to: pandas_frame().to_csv(to, index=False, sep=";"),
    "pandas.excel.csv": lambda to: pandas_frame().to_csv(to, index=False, encoding="utf-8-sig"),
    "pandas.crlf.csv": lambda to: pandas_frame().to_csv(to, index=False, lineterminator="\r\n"),
    "pandas.quoted.csv": lambda to: pandas_frame().to_csv(to, index=False, quoting=1),
    "pandas.tsv": lambda to: pandas_frame().to_csv(to, index=False, sep="\t"),
    "pandas.csv.gz": lambda to: pandas_frame().to_csv(to, index=False),
    "pandas.records.json": lambda to: pandas_frame().astype({"day": str}).to_json(to, orient="records"),
    "pandas.lines.jsonl": lambda to: pandas_frame().astype({"day": str}).to_json(to, orient="records", lines=True),
    "pandas.parquet": lambda to: pandas_frame().to_parquet(to),
    "pandas.gzip.parquet": lambda to: pandas_frame().to_parquet(to, compression="gzip"),
    "pandas.brotli.parquet": lambda to: pandas_frame().to_parquet(to, compression="brotli"),
    "pandas.xlsx": lambda to: pandas_frame().astype({"n": str}).to_excel(to, index=False),
    "polars.csv": lambda to: polars_frame().write_csv(to),
    "polars.ndjson": lambda to: polars_frame().write_ndjson(to),
    "polars.zstd.parquet": lambda to: polars_frame().write_parquet(to, compression="zstd"),
    "polars.lz4.parquet": lambda to: polars_frame().write_parquet(to, compression="lz4"),
    "duckdb.csv": lambda to: duckdb_copy(to, "FORMAT csv, HEADER"),
    "duckdb.tsv": lambda to: duckdb_copy(to, "FORMAT csv, HEADER, DELIMITER '\t'"),
    "duckdb.lines.json": lambda to: duckdb_copy(to, "FORMAT json"),
    "duckdb.array.json": lambda to: duckdb_copy(to, "FORMAT json, ARRAY true"),
    "duckdb.parquet": lambda to: duckdb_copy(to, "FORMAT parquet"),
    "duckdb.zstd.parquet": lambda to: duckdb_copy(to, "FORMAT parquet, COMPRESSION zstd"),
    "datasets.jsonl": lambda to: hugging_face().to_json(to),
    "datasets.csv": lambda to: hugging_face().to_csv(to),
    "datasets.parquet": lambda to: hugging_face().to_parquet(to),
    "python.json": lambda to: to.write_text(json_rows()),
    "python.utf16.json": lambda to: to.write_text(json_rows(), encoding="utf-16"),
}

READERS: dict[str, Callable[[Path], list[dict[str, object]]]] = {
    "csv by pandas": lambda path: pd.read_csv(path, dtype={"id": str}).to_dict("records"),
    "csv by polars": lambda path: pl.read_csv(path).to_dicts(),
    "csv by DuckDB": lambda path: duckdb.sql(f"SELECT * FROM read_csv('{path}')").df().to_dict("records"),
    "tsv by pandas": lambda path: pd.read_csv(path, sep="\t").to_dict("records"),
    "parquet by pandas": lambda path: pd.read_parquet(path).to_dict("records"),
    "parquet by polars": lambda path: pl.read_parquet(path).to_dicts(),
    "parquet by DuckDB": lambda path: duckdb.sql(f"SELECT * FROM '{path}'").df().to_dict("records"),
    "xlsx by openpyxl": workbook,
    "xlsx by pandas": lambda path: pd.read_excel(path).to_dict("records"),
    "parquet by datasets": lambda path: list(datasets.Dataset.from_parquet(str(path))),
}


def batch(fanweave: str, url: str, source: Path, output: Path, prompt: str) -> None:
    arguments = [source, "-o", output, "-m", "openai/echo", "--base-url", url, "-p", prompt, "--columns", "all", "--fresh"]
    done = subprocess.run([fanweave, "batch", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{source.name}: exit {done.returncode}\n{done.stderr}")


def said(answer: str) -> str:
    """The prompt in an answer, which begins with a number of its own."""
    return answer.split(" ", 1)[1]


def normal(field: str, text: str) -> object:
    """One value for all forms of a number, a truth value and a date."""
    if field in ("n", "score"):
        return float(text) if field == "score" else int(text)
    if field == "ok":
        return text.lower()
    if field == "day":
        return text[:10]
    return text


def check_read(fanweave: str, url: str, folder: Path, name: str, write: Callable[[Path], object]) -> None:
    source, output = folder / name, folder / f"{name}.out.jsonl"
    write(source)
    prompt = "\x1f".join("{{ %s }}" % field for field in COLUMNS)
    batch(fanweave, url, source, output, prompt)
    results = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(results) == len(ROWS), f"{name}: {len(results)} results"
    for row, result in zip(ROWS, results, strict=True):
        values = said(result["answer"]).split("\x1f")
        for field, text in zip(COLUMNS, values, strict=True):
            expected = normal(field, str(row[field]))
            assert normal(field, text) == expected, f"{name}: {row['id']}.{field}: {text!r}, not {expected!r}"


def check_written(fanweave: str, url: str, folder: Path, name: str, read: Callable[[Path], list[dict[str, object]]]) -> None:
    extension = name.split()[0]
    source, output = folder / "polars.csv", folder / f"{name.replace(' ', '-')}.{extension}"
    batch(fanweave, url, source, output, "{{ id }} says {{ n }}")
    rows = read(output)
    assert len(rows) == len(ROWS), f"{name}: {len(rows)} rows"
    for row, answer in zip(ROWS, rows, strict=True):
        assert answer["id"] == row["id"], f"{name}: {answer['id']} is not {row['id']}"
        assert said(str(answer["answer"])) == f"{row['id']} says {row['n']}", f"{name}: {answer['answer']!r}"


def main() -> None:
    fanweave, folder = sys.argv[1], Path(sys.argv[2])
    server = subprocess.Popen(
        [fanweave, "sim", "--port", "0", "--latency", "1ms", "--models", "echo"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        url = next(line for line in server.stdout if line.startswith("listening on ")).split()[-1]
        failed = 0
        checks: list[tuple[str, Callable[[], None]]] = [
            *((f"read {name}", lambda n=name, w=write: check_read(fanweave, url, folder, n, w)) for name, write in WRITERS.items()),
            *((name, lambda n=name, r=read: check_written(fanweave, url, folder, n, r)) for name, read in READERS.items()),
        ]
        for name, check in checks:
            try:
                check()
            except Exception as error:  # Every file is tried.
                failed += 1
                print(f"FAILED {name}: {error}")
        print(f"{len(checks) - failed} of {len(checks)} files of other programs are right")
        sys.exit(failed > 0)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
