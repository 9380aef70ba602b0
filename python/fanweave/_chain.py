"""Chains: steps from an input to an output."""

from __future__ import annotations

# `collections` takes longer to load than all of this package.
from _collections_abc import Mapping

from . import _core, _loops
from ._errors import _CLASSES, BatchError
from ._stream import AsyncRows, AsyncStream, Rows, Stream

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterable
    from typing import Any


class Chain:
    """Steps from an input to an output. ``|`` adds a step.

    >>> from fanweave.testing import echo
    >>> joke = fw.prompt("Tell a joke about {{ topic }}.") | echo() | fw.text() | str.upper
    >>> joke.invoke({"topic": "bears"})
    'TELL A JOKE ABOUT BEARS.'
    """

    __slots__ = ("__weakref__", "_engine", "_made")

    def __init__(self, engine: _core.Chain, made: _Made | None = None) -> None:
        self._engine = engine
        self._made = made

    def __class_getitem__(cls, _: Any) -> type[Chain]:
        """``Chain[Input, Output, Piece]``, for annotations."""
        return cls

    def __reduce__(self) -> Any:
        if self._made is None:
            raise TypeError(f"{self!r} cannot be pickled: make it in each process, in a function or a module")
        return _rebuilt, self._made

    # -- one input -----------------------------------------------------------------------------------------

    def invoke(self, input: Any, /, **options: Any) -> Any:
        """Runs the chain once and waits for its output."""
        return _core.invoke(self._engine, input, options or None, self._blocking_bridge())

    async def ainvoke(self, input: Any, /, **options: Any) -> Any:
        """Runs the chain once. Cancelling the task ends the call and closes its socket."""
        bridge = _loops.bridge()
        future, number = bridge.submit(self._engine, input, options or None)
        try:
            return await future
        except BaseException:
            bridge.cancel(number)
            raise

    # -- many inputs ---------------------------------------------------------------------------------------

    def batch(
        self, inputs: Iterable[Any], /, *, concurrency: int = 64, errors: str = "raise", **options: Any
    ) -> list[Any]:
        """Runs the chain for each input, at most ``concurrency`` at once, and returns the outputs in order."""
        _check_errors(errors)
        _check_inputs(inputs)
        bridge = self._blocking_bridge()
        return _results(_core.batch(self._engine, inputs, concurrency, options or None, bridge), errors)

    async def abatch(
        self, inputs: Iterable[Any], /, *, concurrency: int = 64, errors: str = "raise", **options: Any
    ) -> list[Any]:
        """Runs the chain for each input, at most ``concurrency`` at once, and returns the outputs in order."""
        _check_errors(errors)
        _check_inputs(inputs)
        bridge = _loops.bridge()
        future, number = bridge.submit_batch(self._engine, inputs, concurrency, options or None)
        try:
            rows = await future
        except BaseException:
            bridge.cancel(number)
            raise
        return _results(rows, errors)

    def rows(
        self, inputs: Iterable[Any], /, *, concurrency: int = 64, ordered: bool = True, **options: Any
    ) -> Rows:
        """Runs the chain for each input and yields a row for each, also for those that fail.

        Inputs are taken as rows come free, so they may be endless. ``ordered=False`` yields rows as they end.
        """
        _check_inputs(inputs)
        bridge = self._blocking_bridge()
        return Rows(_core.Rows(self._engine, concurrency, ordered, options or None, bridge), inputs)

    def arows(
        self,
        inputs: Iterable[Any] | AsyncIterable[Any],
        /,
        *,
        concurrency: int = 64,
        ordered: bool = True,
        **options: Any,
    ) -> AsyncRows:
        """Like ``rows``, for ``async for``. The inputs may be an async iterable."""
        _check_inputs(inputs)
        engine = self._engine

        def start() -> _core.Rows:
            return _core.Rows(engine, concurrency, ordered, options or None, _loops.bridge())

        return AsyncRows(start, inputs)

    # -- one input in pieces -------------------------------------------------------------------------------

    def stream(self, input: Any, /, **options: Any) -> Stream:
        """Runs the chain once and yields the pieces of its output as they arrive."""
        return Stream(_core.stream(self._engine, input, options or None, self._blocking_bridge()))

    def astream(self, input: Any, /, **options: Any) -> AsyncStream:
        """Like ``stream``, for ``async for``."""
        engine = self._engine
        return AsyncStream(lambda: _core.stream(engine, input, options or None, _loops.bridge()))

    def events(self, input: Any, /, **options: Any) -> Stream:
        """Runs the chain once and yields the events of its steps. A failure is an event, and raised at the end."""
        return Stream(_core.events(self._engine, input, options or None, self._blocking_bridge()))

    def aevents(self, input: Any, /, **options: Any) -> AsyncStream:
        """Like ``events``, for ``async for``."""
        engine = self._engine
        return AsyncStream(lambda: _core.events(engine, input, options or None, _loops.bridge()))

    # -- composition ---------------------------------------------------------------------------------------

    def __or__(self, next: Any) -> Chain:
        other = as_chain(next)
        return NotImplemented if other is None else self._then(other)

    def _then(self, next: Chain) -> Chain:
        return Chain(self._engine.then(next._engine), (Chain._then, (self, next), {}))

    def __ror__(self, first: Any) -> Chain:
        other = as_chain(first)
        return NotImplemented if other is None else other._then(self)

    def retry(self, attempts: int = 3, *, on: Collection[str | type[BaseException]] | None = None) -> Chain:
        """Runs the chain again if it fails with a temporary error, or one of the kinds or classes of ``on``."""
        kinds = None if on is None else _kinds(on)
        return Chain(self._engine.retry(attempts, kinds), (Chain.retry, (self, attempts), {"on": on}))

    def fallback(self, *others: Chain) -> Chain:
        """Uses the other chains, in order, if this one fails."""
        engine = self._engine.fallback([_required(other, "a fallback")._engine for other in others])
        return Chain(engine, (Chain.fallback, (self, *others), {}))

    def with_timeout(self, seconds: float) -> Chain:
        """Ends the chain with a TimeoutError after this time."""
        return Chain(self._engine.with_timeout(seconds), (Chain.with_timeout, (self, seconds), {}))

    def named(self, name: str) -> Chain:
        """Names the chain in errors, events and diagrams."""
        return Chain(self._engine.named(name), (Chain.named, (self, name), {}))

    def lines(self) -> Many:
        """The lines of an answer, each as soon as it is complete."""
        return Many(_core.lines(self._engine), (Chain.lines, (self,), {}))

    def items(self, type: type[Any] | None = None) -> Many:
        """The items of a JSON array in an answer, each as soon as it is complete.

        With ``type``, each is read as a value of this type, such as a dataclass. One that does not fit is a ``ParseError``.
        """
        items = Many(_core.items(self._engine), (Chain.items, (self,), {}))
        if type is None:
            return items
        from ._tool import reading

        return items.each(reading(type))

    def mermaid(self) -> str:
        """The chain as a flowchart in the Mermaid language."""
        return self._engine.mermaid()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._engine.title()})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        # Notebooks draw the chain.
        return {"text/plain": repr(self), "text/vnd.mermaid": self.mermaid()}

    def _blocking_bridge(self) -> _core.Bridge | None:
        _loops.warn_if_blocked()
        return _loops.blocking_bridge() if self._engine.has_steps else None


# A function and its arguments, which make a chain again elsewhere.
if TYPE_CHECKING:
    _Made = tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]


def _rebuilt(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return function(*args, **kwargs)


def _check_errors(errors: str) -> None:
    if errors not in ("raise", "return"):
        raise ValueError(f"errors must be `raise` or `return`, got `{errors}`")


def _check_inputs(inputs: Any) -> None:
    # Their items would be characters and keys: an error says so.
    if isinstance(inputs, (str, bytes, dict)):
        kind = type(inputs).__name__
        raise TypeError(
            f"inputs must be a list or another iterable of inputs, got one {kind}: put it into a list"
        )


def _results(rows: list[tuple[bool, Any]], errors: str) -> list[Any]:
    results = [result for _, result in rows]
    if errors == "raise":
        failed = [result for is_ok, result in rows if not is_ok]
        if failed:
            message = f"{len(failed)} of {len(rows)} rows failed; the first error: {failed[0]}"
            error = BatchError(message, kind="batch", results=results)
            raise error from failed[0]
    return results


def _kinds(on: Collection[str | type[BaseException]]) -> list[str]:
    kinds = []
    for choice in on:
        if isinstance(choice, str):
            if choice not in _CLASSES:
                raise ValueError(f"`{choice}` is not a kind of error")
            kinds.append(choice)
            continue
        found = [kind for kind, cls in _CLASSES.items() if issubclass(cls, choice)]
        if not found:
            raise ValueError(f"{choice.__name__} is not an exception of fanweave")
        kinds.extend(found)
    return kinds


def as_chain(value: Any) -> Chain | None:
    """The value as a chain: a chain, a function, or a mapping of names to these."""
    if isinstance(value, Chain):
        return value
    if isinstance(value, Mapping):
        return parallel(**value)
    if callable(value):
        return step(value)
    return None


def step(function: Callable[[Any], Any] | Callable[[Any], Awaitable[Any]], *, inline: bool = False) -> Chain:
    """A Python function as a step.

    A coroutine function runs on the event loop of the run, a plain function on a thread, or with ``inline=True``
    on the thread of the loop, for functions that return at once.

    >>> (fw.step(str.upper) | fw.step(len)).invoke("bears")
    5
    """
    from . import _steps

    if not callable(function):
        raise TypeError(f"a step must be a function, got {type(function).__name__}")
    name = getattr(function, "__name__", None) or type(function).__name__
    engine = _core.step(function, name, inline or _steps.is_async(function))
    return Chain(engine, (step, (function,), {"inline": inline}))


def parallel(**branches: Any) -> Chain:
    """Runs several chains on the same input at once. The output is a dict of their outputs.

    >>> fw.parallel(upper=str.upper, words=str.split).invoke("a b")
    {'upper': 'A B', 'words': ['a', 'b']}
    """
    return Chain(_core.parallel(_named(branches)), (parallel, (), branches))


def assign(**branches: Any) -> Chain:
    """Adds the outputs of several chains, which run at once, to the dict that is their input.

    >>> fw.assign(length=lambda row: len(row["word"])).invoke({"word": "tide"})
    {'word': 'tide', 'length': 4}
    """
    return Chain(_core.assign(_named(branches)), (assign, (), branches))


def _named(branches: Mapping[str, Any]) -> list[tuple[str, _core.Chain]]:
    return [(name, _required(branch, f"branch `{name}`")._engine) for name, branch in branches.items()]


def _required(value: Any, place: str) -> Chain:
    chain = as_chain(value)
    if chain is None:
        raise TypeError(f"{place} must be a chain or a function, got {type(value).__name__}")
    return chain


def pick(*names: str) -> Chain:
    """Keeps these entries of a dict.

    >>> fw.pick("a").invoke({"a": 1, "b": 2})
    {'a': 1}
    """
    return Chain(_core.pick(list(names)), (pick, names, {}))


def branch(*arms: Any) -> Chain:
    """Runs the chain of the first condition that is true, or the last argument if none is.

    The other arguments are pairs of a condition, a function of the input, and a chain.

    >>> sign = fw.branch((lambda n: n < 0, lambda n: "negative"), (lambda n: n > 0, lambda n: "positive"), lambda n: "zero")
    >>> sign.batch([-5, 0, 5])
    ['negative', 'zero', 'positive']
    """
    if not arms:
        raise TypeError("branch needs a chain for the case that no condition is true")
    *pairs, default = arms
    if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise TypeError("each argument of branch but the last must be a pair of a condition and a chain")
    conditions = [condition for condition, _ in pairs]
    chains = [chain for _, chain in pairs]

    def condition(input: Any) -> str:
        for i, is_true in enumerate(conditions):
            if is_true(input):
                return str(i)
        return "default"

    routes = {str(i): chain for i, chain in enumerate(chains)}
    chain = router(condition, {**routes, "default": default})
    return Chain(chain._engine, (branch, arms, {}))


def router(key: Callable[[Any], Any], routes: Mapping[str, Any]) -> Chain:
    """Runs the chain whose name ``key`` returns: a function of the input, or a chain such as a classifier.

    >>> by_kind = fw.router(lambda row: row["kind"], {"code": lambda row: "a program", "prose": lambda row: "a text"})
    >>> by_kind.invoke({"kind": "prose"})
    'a text'
    """
    named = [(name, _required(route, f"route `{name}`")._engine) for name, route in routes.items()]
    engine = _core.router(_required(key, "the key of a router")._engine, named)
    return Chain(engine, (router, (key, routes), {}))


def passthrough() -> Chain:
    """Returns its input.

    >>> fw.parallel(text=fw.passthrough(), length=len).invoke("bears")
    {'text': 'bears', 'length': 5}
    """
    return Chain(_core.passthrough(), (passthrough, (), {}))


def prompt(template: str, /, **partial: Any) -> Chain:
    """A prompt of one user message: ``{{ name }}`` is replaced by the variable ``name``.

    >>> fw.prompt("A {{ kind }} for {{ name }}.", kind="poem").invoke({"name": "Ada"}).messages
    [Message(user, 'A poem for Ada.')]
    """
    return Chain(_core.prompt(_template(template), partial), (prompt, (template,), partial))


def fstring(template: str, /, **partial: Any) -> Chain:
    """A prompt of one user message, in the syntax of f-strings: ``{name}`` is replaced.

    >>> fw.fstring("A poem for {name}.").invoke({"name": "Ada"}).messages
    [Message(user, 'A poem for Ada.')]
    """
    return Chain(_core.fstring(_template(template), partial), (fstring, (template,), partial))


def _template(template: str) -> str:
    if not isinstance(template, str):
        raise TypeError(f"a template must be a text, got {type(template).__name__}")
    return template


class Chat(Chain):
    """A prompt of several messages. Each method adds one.

    >>> talk = fw.chat().system("Answer briefly.").history("earlier").user("{{ question }}")
    >>> talk.invoke({"question": "Who?", "earlier": [("user", "Hello"), ("assistant", "Hi")]}).messages[-1]
    Message(user, 'Who?')
    """

    __slots__ = ("_messages", "_partial")

    def __init__(self, messages: list[tuple[str, str]], partial: dict[str, Any]) -> None:
        super().__init__(_core.chat(messages, partial), (Chat, (messages, partial), {}))
        self._messages = messages
        self._partial = partial

    def _add(self, kind: str, text: str) -> Chat:
        return Chat([*self._messages, (kind, _template(text))], self._partial)

    def system(self, template: str, /) -> Chat:
        """Adds instructions of the system."""
        return self._add("system", template)

    def user(self, template: str, /) -> Chat:
        """Adds a message of the user."""
        return self._add("user", template)

    def assistant(self, template: str, /) -> Chat:
        """Adds an answer of the model, as an example."""
        return self._add("assistant", template)

    def history(self, name: str, /) -> Chat:
        """Inserts the messages of a variable here, or nothing if it is missing."""
        return self._add("history", name)


def chat(**partial: Any) -> Chat:
    """A prompt of several messages, without any yet: ``chat().system("..").user("{{ question }}")``.

    >>> fw.chat(language="English").system("Answer in {{ language }}.").user("{{ question }}").invoke({"question": "Who?"})
    Prompt(2 messages)
    """
    return Chat([], partial)


def text() -> Chain:
    """The text of an answer.

    >>> from fanweave.testing import echo
    >>> (echo() | fw.text()).invoke("hello")
    'hello'
    """
    return Chain(_core.text(), (text, (), {}))


def json() -> Chain:
    """The JSON value in an answer, also with text around it.

    >>> from fanweave.testing import echo
    >>> (echo() | fw.json()).invoke('Here it is: {"year": 1851}')
    {'year': 1851}
    """
    return Chain(_core.json(), (json, (), {}))


def as_list() -> Chain:
    """The items of an answer that are separated by commas.

    >>> from fanweave.testing import echo
    >>> (echo() | fw.as_list()).invoke("tea, socks, kites")
    ['tea', 'socks', 'kites']
    """
    return Chain(_core.as_list(), (as_list, (), {}))


def choice(*options: str) -> Chain:
    """The one of several words that an answer is, without regard to case, spaces and marks around it.

    >>> from fanweave.testing import echo
    >>> (echo() | fw.choice("yes", "no")).invoke("**Yes.**")
    'yes'
    """
    return Chain(_core.choice(list(options)), (choice, options, {}))


def regex(pattern: str) -> Chain:
    """The named groups of a regular expression that matches an answer, or ``match``, the whole match.

    >>> from fanweave.testing import echo
    >>> (echo() | fw.regex(r"(?P<year>\\d{4})")).invoke("In 1851.")
    {'year': '1851'}
    """
    return Chain(_core.regex(pattern), (regex, (pattern,), {}))


class Many:
    """A chain with many outputs: a step runs for each item of a list while the list is still being generated.

    >>> from fanweave.testing import echo
    >>> titles = echo().lines().each(str.upper)
    >>> titles.collect().invoke("one\\ntwo")
    ['ONE', 'TWO']
    >>> titles.join(" + ").invoke("one\\ntwo")
    'ONE + TWO'
    """

    __slots__ = ("_engine", "_made")

    def __class_getitem__(cls, _: Any) -> type[Many]:
        return cls

    def __init__(self, engine: _core.Many, made: _Made) -> None:
        self._engine = engine
        self._made = made

    def __reduce__(self) -> Any:
        return _rebuilt, self._made

    def each(self, chain: Any) -> Many:
        """Runs a chain for each item, several at once. Items keep their order."""
        step = _required(chain, "a step")
        return Many(self._engine.each(step._engine), (Many.each, (self, step), {}))

    def collect(self) -> Chain:
        """The list of all items."""
        return Chain(self._engine.collect(), (Many.collect, (self,), {}))

    def join(self, separator: str) -> Chain:
        """The texts of all items in one, with a separator between them."""
        return Chain(self._engine.join(separator), (Many.join, (self, separator), {}))
