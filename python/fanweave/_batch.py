"""Batches over data frames, files and iterables: many rows, one model, a journal to resume from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from errno import ENOENT
from os import PathLike, fspath
from os.path import exists

from . import _core, _loops
from ._chain import Chain
from ._client import prepared
from ._errors import BatchError, ConfigError, Error, InputError
from ._frames import Frame, frame_of, plain_field
from ._model import Model
from ._model import model as model_of
from ._progress import INTERVAL, Display
from ._schema import Reader
from ._stream import Row
from ._tool import structured_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Summary:
    """Totals of a batch over a file.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "names.txt").write_text("Ada\\nBob\\n")
    >>> summary = fw.batch(folder / "names.txt", model="sim/echo", output=folder / "answers.jsonl")
    >>> summary.ok, summary.failed, summary.output == str(folder / "answers.jsonl")
    (2, 0, True)
    """

    rows: int
    """Rows with a result, from this run or an earlier one."""
    ok: int
    """Rows with an answer."""
    failed: int
    """Rows with an error."""
    resumed: int
    """Rows whose result came from the journal."""
    left: int | None
    """Rows without a result, because the run was stopped."""
    retries: int
    """Attempts after the first."""
    interrupted: bool
    """True if the run stopped before all rows were started."""
    over_budget: bool
    """True if the run stopped because more rows could have exceeded the budget."""
    refused: Error | None
    """The error that stopped the run: the provider rejected the account, or was failing for too long."""
    cost_usd: float | None
    """Cost of this run in US dollars, or None if no price is known."""
    wall: float
    """Seconds that the run took."""
    usage: _core.Usage
    """Tokens of this run."""
    failures: list[str]
    """The reasons of failures with their counts, most common first."""
    notes: list[str]
    """Sentences for the user, such as on damaged lines of the journal."""
    output: str
    """Path of the output."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __repr__(self) -> str:
        return f"Summary(rows={self.rows}, ok={self.ok}, failed={self.failed}, output={self.output!r})"


class _Plan:
    """A batch that is about to start."""

    def __init__(
        self,
        rows: Any,
        *,
        model: str | Model | Chain | None = None,
        prompt: str | None = None,
        system: str | None = None,
        response: Any = None,
        output: str | PathLike[str] | None = None,
        journal: str | PathLike[str] | None = None,
        into: str = "answer",
        concurrency: int | None = None,
        limit: int | None = None,
        budget_usd: float | None = None,
        dedupe: bool = False,
        retry_failed: bool = False,
        fresh: bool = False,
        errors: str = "keep",
        batch_api: bool = False,
        progress: bool | Callable[[Any], object] | None = None,
        **parameters: Any,
    ) -> None:
        if errors not in ("keep", "raise"):
            raise _config(f"errors must be `keep` or `raise`, got `{errors}`")
        if not isinstance(into, str):
            raise _config(f"into must be the name of a column, got {into!r}")
        if not (progress is None or isinstance(progress, bool) or callable(progress)):
            raise _config(f"progress must be True, False, None or a function, got {progress!r}")
        chain: Chain = model_of(model) if isinstance(model, str) else model
        if model is None:
            raise _config('a batch needs a model: model="openai/gpt-5-mini", a model or a chain')
        if not isinstance(chain, Chain):
            raise TypeError(f"model must be a name, a model or a chain, got {type(model).__name__}")
        is_chain = not isinstance(chain, Model) and prompt is None and system is None
        if is_chain and (response is not None or parameters):
            raise _config("a chain over rows has its own response type and parameters")
        self.errors = errors
        self.into = into
        self.limit = limit
        self.progress = progress
        self.reader = None if response is None else Reader(response)
        self.frame: Frame | None = None
        self.path: str | None = None
        self.count = 0
        settings: dict[str, Any] = {
            "concurrency": 64 if concurrency is None else concurrency,
            "limit": limit,
            "budget_usd": budget_usd,
            "dedupe": dedupe,
            "retry_failed": retry_failed,
            "fresh": fresh,
            "journal": None if journal is None else fspath(journal),
            "prompt": prompt,
            "system": system,
            "is_chain": is_chain,
            "models": [chain.name] if isinstance(chain, Model) else [],
            "max_tokens": parameters.get("max_tokens"),
            "fingerprint": _fingerprint(chain, parameters, prompt, system, self.reader),
        }
        if batch_api:
            if concurrency is not None:
                raise _config("concurrency has no effect with batch_api: the provider schedules the requests")
            if response is not None:
                raise _config("response cannot be used with batch_api, which asks only once")
            if output is None and journal is None:
                raise _config("batch_api needs a journal, or a file of rows: it keeps what was submitted")
            settings["batch_api"] = _api_of(chain)
        if parameters:
            chain = Chain(_core.with_parameters(chain._engine, parameters))
        if self.reader is not None:
            chain = structured_json(chain, self.reader)
        self.chain = chain
        if isinstance(rows, (str, PathLike)):
            self._read_file(rows, output, journal, settings)
        elif output is not None:
            raise _config("output is for a file of rows: the result of a frame or an iterable is returned")
        else:
            self.frame = frame_of(rows)
            if self.frame is None:
                self._read_iterable(rows, settings)
            else:
                self._read_frame(self.frame, settings)
        self.settings = settings

    def _read_file(self, rows: Any, output: Any, journal: Any, settings: dict[str, Any]) -> None:
        if output is None:
            raise _config("a file of rows needs an output: the path of the file for its results")
        if journal is not None:
            raise _config("the journal of a file of rows is beside its output: leave `journal` out")
        if not exists(rows):
            message = "no such file (rows in memory are a list, also a single one)"
            raise FileNotFoundError(ENOENT, message, fspath(rows))
        self.path = fspath(output)
        settings.update(path=fspath(rows), output=self.path)

    def _read_iterable(self, rows: Any, settings: dict[str, Any]) -> None:
        if not isinstance(rows, Iterable) or isinstance(rows, (Mapping, bytes)):
            kind = type(rows).__name__
            raise TypeError(f"rows must be a data frame, a path or an iterable of rows, got {kind}")
        inputs = [
            row if isinstance(row, (str, _core.Prompt)) else _input(i, row) for i, row in enumerate(rows)
        ]
        self.count = len(inputs)
        settings["inputs"] = inputs

    def _read_frame(self, frame: Frame, settings: dict[str, Any]) -> None:
        self.count = frame.height
        names = frame.names
        if self.into in names:
            raise _config(f"the frame has a column `{self.into}`: choose another name with `into`")
        # Nothing of the frame is overwritten. Known before anything is paid for.
        for name in (*self._fields(), *_COLUMNS):
            if name in names and f"{self.into}_{name}" in names:
                message = f"the frame has the columns `{name}` and `{self.into}_{name}`: choose another name with `into`"
                raise _config(message)
        templates = [text for text in (settings["prompt"], settings["system"]) if text is not None]
        if settings["is_chain"]:
            read = names
        elif templates:
            read = sorted({name for text in templates for name in _core.variables(text)})
            missing = [name for name in read if name not in names]
            if missing:
                wanted = ", ".join(f"`{name}`" for name in missing)
                raise _config(f"the prompt reads {wanted}, and the columns are {', '.join(map(str, names))}")
        else:
            read = [name for name in ("prompt", "messages") if name in names]
            if not read:
                raise _config("give a `prompt`, or a frame with a column `prompt` or `messages`")
        double = [str(name) for name in read if names.count(name) > 1]
        if double:
            raise _config(f"the frame has several columns `{double[0]}`: rename them")
        settings["columns"] = {str(name): frame.column(name) for name in read}
        settings["rows"] = self.count

    def start(self, bridge: _core.Bridge | None) -> _core.Job:
        try:
            return _core.job(self.chain._engine, self.settings, None, bridge)
        except (InputError, UnicodeEncodeError) as error:
            place = self._place_of_invalid()
            if place is None:
                raise
            raise InputError(f"{place}: {error}{_advice(error)}", kind="input") from error

    def _place_of_invalid(self) -> str | None:
        """The first value in memory that has no JSON form."""
        for name, values in self.settings.get("columns", {}).items():
            for i, value in enumerate(values):
                if _is_invalid(value):
                    return f"row {i} of the frame, column `{name}`"
        for i, row in enumerate(self.settings.get("inputs", ())):
            for name, value in row.items() if isinstance(row, dict) else [("", row)]:
                if not isinstance(value, _core.Prompt) and _is_invalid(value):
                    return f"rows[{i}], `{name}`" if name else f"rows[{i}]"
        return None

    def finish(self, job: _core.Job) -> Any:
        summary = job.summary()
        refused = summary["refused"]
        if self.path is not None:
            if refused is not None and self.errors == "raise":
                raise refused
            return Summary(**summary, output=self.path)
        if refused is not None and summary["ok"] == 0:
            # There is nothing to lose.
            raise refused
        columns = job.take()
        self._complete(columns, summary)
        failed = [error for error in columns["errors"] if error is not None]
        if failed and self.errors == "raise":
            message = f"{len(failed)} of {self.count} rows failed; the first error: {failed[0]}"
            pairs = zip(self._outputs(columns), columns["errors"], strict=True)
            results = [output if error is None else error for output, error in pairs]
            raise BatchError(message, kind="batch", results=results) from failed[0]
        return self._rows(columns) if self.frame is None else self._frame(self.frame, columns)

    def _complete(self, columns: dict[str, list[Any]], summary: dict[str, Any]) -> None:
        """Adds the rows that have no result."""
        defaults = {"input_tokens": 0, "output_tokens": 0}
        for name, values in columns.items():
            values.extend([defaults.get(name)] * (self.count - len(values)))
        expected = self.count if self.limit is None else min(self.limit, self.count)
        if summary["rows"] >= expected:
            return
        reason = summary["refused"]
        if reason is None:
            why = "the budget is spent" if summary["over_budget"] else "the batch was stopped"
            reason = Error(f"not run: {why}", kind="cancelled")
        outputs, errors, tokens = columns["outputs"], columns["errors"], columns["output_tokens"]
        for i in range(expected):
            if outputs[i] is None and errors[i] is None and not tokens[i]:
                errors[i] = reason

    def _outputs(self, columns: dict[str, list[Any]]) -> list[Any]:
        outputs, reader = columns["outputs"], self.reader
        if reader is None:
            return outputs
        return [
            output if error is not None or (output is None and not tokens) else reader.read(output)
            for output, error, tokens in zip(
                outputs, columns["errors"], columns["output_tokens"], strict=True
            )
        ]

    def _rows(self, columns: dict[str, list[Any]]) -> list[Row]:
        pairs = zip(self._outputs(columns), columns["errors"], strict=True)
        return [Row(i, output, error) for i, (output, error) in enumerate(pairs)]

    def _fields(self) -> list[str]:
        """The fields of the type of the answers, which have columns of their own."""
        return [] if self.reader is None else list(self.reader.schema.get("properties", ()))

    def _frame(self, frame: Frame, columns: dict[str, list[Any]]) -> Any:
        names = set(frame.names)

        def free(name: str) -> str:
            return f"{self.into}_{name}" if name in names else name

        outputs = columns["outputs"]
        fields = self._fields()
        new: dict[str, tuple[str, list[Any]]] = {}
        if fields:
            for field in fields:
                values = [output.get(field) if isinstance(output, dict) else None for output in outputs]
                new[free(field)] = _typed(values)
        else:
            new[self.into] = _typed(outputs)
        names.update(new)
        new[free("error")] = "text", [None if error is None else str(error) for error in columns["errors"]]
        new[free("finish_reason")] = "text", columns["finish_reason"]
        new[free("input_tokens")] = "int", columns["input_tokens"]
        new[free("output_tokens")] = "int", columns["output_tokens"]
        new[free("cost_usd")] = "float", columns["cost_usd"]
        return frame.with_columns(new)


_COLUMNS = ("error", "finish_reason", "input_tokens", "output_tokens", "cost_usd")


def _input(index: int, row: Any) -> Any:
    """A row that is not a text, as an input."""
    try:
        if isinstance(row, dict):
            return {name: plain_field(value) for name, value in row.items()}
        return _core.prompt_of(row, {})
    except Error as error:
        raise InputError(f"rows[{index}], of the type {type(row).__name__}: {error}", kind="input") from error


def _is_invalid(value: Any) -> bool:
    try:
        _core.prompt("", {"value": value})
    except (InputError, UnicodeEncodeError):
        return True
    return False


def _advice(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return " (half of a character: text.encode(errors='replace').decode() replaces it)"
    return ""


def _typed(values: list[Any]) -> tuple[str, list[Any]]:
    is_text = all(value is None or isinstance(value, str) for value in values)
    return ("text" if is_text else "any"), values


def _api_of(model: Chain) -> tuple[str, dict[str, Any]]:
    """The name and the settings of a model, for the batch API of its provider."""
    if not isinstance(model, Model):
        raise _config("batch_api needs a model or its name: it makes one call per row, and runs no chain")
    if model.name.startswith(("sim/", "fake/")):
        message = (
            f"{model.name} is simulated in this process, without a batch API: start fanweave.testing.sim()"
        )
        raise _config(message)
    if model._cache is not None:
        raise _config("a cache has no effect with batch_api: submit rows to the model without it")
    return model.name, prepared(model.name, model._settings)


def _config(message: str) -> ConfigError:
    return ConfigError(message, kind="config")


def _fingerprint(
    chain: Chain,
    parameters: Mapping[str, Any],
    prompt: str | None,
    system: str | None,
    reader: Reader | None,
) -> list[tuple[str, str]]:
    """What changes the answers to rows. A key is not part of it."""
    values: list[tuple[str, str]] = []
    if isinstance(chain, Model):
        own = {name: value for name, value in chain._settings.items() if name in _PARAMETERS}
        parameters = {**own, **parameters}
        values.append(("model", chain.name))
    else:
        values.append(("chain", chain.mermaid()))
    if parameters:
        values.append(("parameters", json.dumps(dict(parameters), sort_keys=True, default=str)))
    if prompt is not None:
        values.append(("prompt", prompt))
    if system is not None:
        values.append(("system", system))
    if reader is not None:
        values.append(("response", json.dumps(reader.schema, sort_keys=True)))
    return values


_PARAMETERS = (
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "reasoning_effort",
    "reasoning_budget",
    "reasoning_summary",
    "tool_choice",
    "extra",
)


def batch(rows: Any, /, **settings: Any) -> Any:
    """Runs a model for each row of a data frame, a file or an iterable.

    >>> from fanweave.testing import echo
    >>> [row.unwrap() for row in fw.batch(["one", "two"], model=echo())]
    ['one', 'two']

    A frame of pandas or polars, or a table of Arrow, comes back with the columns ``answer``, ``error``, ``finish_reason``,
    ``input_tokens``, ``output_tokens`` and ``cost_usd``, in US dollars. A file of rows (JSON lines, CSV, text, Parquet)
    needs ``output=``, the path of the file for the results, and gives a ``Summary``. An iterable of texts, dicts or prompts
    gives a list of ``Row``.

    ``model``: a name, a model, or a chain whose input is a row.
    ``prompt``, ``system``: templates, filled with the columns or fields of a row.
    ``response``: a type for the answers; a frame then has a column for each of its fields.
    ``journal``: path of a file that keeps each result as soon as it is there. The same call after a crash calls only
    the rows that are missing. A file of rows has its journal beside its output.
    ``into``: name of the column for answers.
    ``concurrency``: maximum rows in flight, 64 by default. ``limit``: maximum rows.
    ``budget_usd``: no row starts that could exceed this sum in US dollars.
    ``dedupe``: calls equal rows once. ``retry_failed``: runs rows again that failed in an earlier run.
    ``fresh``: ignores the journal of an earlier run.
    ``batch_api``: submits all rows to the provider's batch API, which takes up to 24 hours and costs half as much. It needs
    a model, and a ``journal`` or a file of rows: a run that was stopped collects its batches later, and submits no row
    twice. ``concurrency``, ``budget_usd``, ``dedupe`` and ``response`` are refused with it.
    ``errors``: ``"keep"``, or ``"raise"`` for a ``BatchError`` after all rows have ended.
    ``progress``: True, False, a function of a ``Snapshot``, or None: after a second, on a terminal or in a notebook.
    Other arguments are parameters of the calls, such as ``temperature``.

    Raises ``ConfigError`` for invalid settings and journals of other runs, ``OSError`` for files, and the error of the
    provider if it rejects the account before a row is answered. Ctrl-C ends the calls in flight; with a journal, the same
    call continues from there.
    """
    plan = _Plan(rows, **settings)
    _loops.warn_if_blocked()
    bridge = _loops.blocking_bridge() if plan.chain._engine.has_steps else None
    job = plan.start(bridge)
    try:
        with Display(plan.progress, job.snapshot) as display:
            while not job.wait_blocking(INTERVAL):
                display.update()
    except BaseException:
        job.close()
        raise
    return plan.finish(job)


async def abatch(rows: Any, /, **settings: Any) -> Any:
    """Like ``batch``, awaited. Cancelling the task ends the calls in flight; a journal keeps what has ended.

    >>> import asyncio
    >>> from fanweave.testing import echo
    >>> [row.unwrap() for row in asyncio.run(fw.abatch(["one", "two"], model=echo()))]
    ['one', 'two']
    """
    import asyncio

    plan = _Plan(rows, **settings)
    bridge = _loops.bridge()
    job = plan.start(bridge)
    future, number = job.wait(bridge)
    try:
        with Display(plan.progress, job.snapshot) as display:
            while not (await asyncio.wait([future], timeout=INTERVAL))[0]:
                display.update()
    except BaseException:
        job.close()
        raise
    finally:
        bridge.cancel(number)
    return plan.finish(job)
