"""Ready-made chains: answers from documents, summaries, conversations, calculations.

from fanweave import chains

qa = chains.qa(fw.model("openai/gpt-5-mini"))
"""

from __future__ import annotations

from . import _core, _loops
from ._chain import Chain, as_chain, prompt
from ._core import QaAnswer
from ._errors import ConfigError
from ._model import Model, model

# `typing` takes longer to load than all of this package.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike
    from typing import Any, Literal, TypeAlias

    from ._core import Message

    _Strategy: TypeAlias = Literal["stuff", "map_reduce", "refine", "map_rerank"]

__all__ = [
    "Memory",
    "QaAnswer",
    "Sessions",
    "conversation",
    "conversational_qa",
    "math",
    "qa",
    "retrieval_qa",
    "summary",
    "with_history",
]


def _model(given: Model | str) -> Model:
    return given if isinstance(given, Model) else model(given)


def _prompt(given: Chain[Any, Any, Any] | str | None) -> _core.Chain | None:
    """A prompt for the engine: a template, or a chain from variables to a prompt."""
    if given is None:
        return None
    chain: Chain[Any, Any, Any] = prompt(given) if isinstance(given, str) else given
    return chain._engine


def _retriever(given: Any) -> _core.Chain:
    from ._store import Store

    if isinstance(given, Store):
        return given.retriever()._engine
    chain = as_chain(given)
    if chain is None:
        raise ConfigError(
            f"a retriever must be a store, a chain or a function from a question to documents, "
            f"got {type(given).__name__}",
            kind="config",
        )
    return chain._engine


def _qa_settings(
    prompt: Any,
    document_prompt: Any,
    collapse_prompt: Any,
    max_tokens: int | None,
    concurrency: int | None,
    no_documents: str | None,
) -> dict[str, Any]:
    return {
        "prompt": _prompt(prompt),
        "document_prompt": _prompt(document_prompt),
        "collapse_prompt": _prompt(collapse_prompt),
        "max_tokens": max_tokens,
        "concurrency": concurrency,
        "no_documents": no_documents,
    }


def qa(
    model: Model | str,
    /,
    strategy: _Strategy = "stuff",
    *,
    prompt: Chain[Any, Any, Any] | str | None = None,
    document_prompt: Chain[Any, Any, Any] | str | None = None,
    collapse_prompt: Chain[Any, Any, Any] | str | None = None,
    max_tokens: int | None = None,
    concurrency: int | None = None,
    no_documents: str | None = None,
) -> Chain[Mapping[str, Any], QaAnswer, str]:
    """Answers a question from documents: a chain from a dict of ``question`` and ``documents`` to an ``QaAnswer``.

    ===============  =====================================  ==================================================
    strategy         calls for ``n`` documents              for
    ===============  =====================================  ==================================================
    ``stuff``        1                                      a few documents, which fit into one prompt
    ``map_reduce``   ``n`` at once, some rounds, then one   many documents
    ``refine``       ``n``, one after the other             an answer that each document improves
    ``map_rerank``   ``n`` at once                          an answer that one document contains
    ===============  =====================================  ==================================================

    Documents are texts, ``fanweave.Document``s or dicts with ``text`` and ``metadata``. Without any, the answer is
    ``no_documents`` and no call is made. ``max_tokens`` is the maximum of tokens of documents in one prompt, of four bytes
    each, 3,000 by default; ``concurrency`` that of calls at once for one question, 256 by default. ``prompt`` has the
    variables ``question`` and ``context``, with ``refine`` also ``answer``; ``document_prompt`` is that for one document
    with ``map_reduce``, and for the first with ``refine``; ``collapse_prompt`` shortens results with ``map_reduce``. A
    stream yields the texts of the last call.

    Raises ``InputError`` for documents that do not fit into a prompt, ``ParseError`` if no answer of ``map_rerank`` has a
    score.

    >>> answer = chains.qa("sim/writer").invoke(
    ...     {"question": "When did the station open?", "documents": ["The station opened in 1966."]}
    ... )
    >>> answer.sources[0].text
    'The station opened in 1966.'
    """
    settings = _qa_settings(prompt, document_prompt, collapse_prompt, max_tokens, concurrency, no_documents)
    return Chain(_core.qa(_model(model)._engine, strategy, settings))


def retrieval_qa(
    model: Model | str,
    retriever: Any,
    /,
    strategy: _Strategy = "stuff",
    *,
    prompt: Chain[Any, Any, Any] | str | None = None,
    document_prompt: Chain[Any, Any, Any] | str | None = None,
    collapse_prompt: Chain[Any, Any, Any] | str | None = None,
    max_tokens: int | None = None,
    concurrency: int | None = None,
    no_documents: str | None = None,
) -> Chain[str, QaAnswer, str]:
    """Answers a question from the documents that are found for it: a chain from a text to an ``QaAnswer``.

    ``retriever`` is a store, or a chain or a function from a question to a list of documents. The others are those of
    ``qa``.

    >>> store = fw.memory_store("sim/words")
    >>> ids = store.add(["The station has 24 turbines.", "Bears sleep in winter."])
    >>> chain = chains.retrieval_qa("sim/writer", store.retriever(limit=1))
    >>> chain.invoke("How many turbines has the station?").sources[0].text
    'The station has 24 turbines.'
    """
    settings = _qa_settings(prompt, document_prompt, collapse_prompt, max_tokens, concurrency, no_documents)
    return Chain(_core.retrieval_qa(_model(model)._engine, _retriever(retriever), strategy, settings))


def conversational_qa(
    model: Model | str,
    retriever: Any,
    /,
    strategy: _Strategy = "stuff",
    *,
    condense_prompt: Chain[Any, Any, Any] | str | None = None,
    history_tokens: int | None = None,
    prompt: Chain[Any, Any, Any] | str | None = None,
    document_prompt: Chain[Any, Any, Any] | str | None = None,
    collapse_prompt: Chain[Any, Any, Any] | str | None = None,
    max_tokens: int | None = None,
    concurrency: int | None = None,
    no_documents: str | None = None,
) -> Chain[str | Mapping[str, Any], QaAnswer, str]:
    """Answers a question within a conversation from the documents that are found for it.

    The input is a text, or a dict of ``question`` and ``history``: messages, or pairs of a question and its answer. With a
    history, the model first rewrites the question as one that stands alone, ``question`` of the ``QaAnswer``.
    ``condense_prompt`` is the prompt for that, with the variables ``history`` and ``question``, and ``history_tokens`` the
    maximum of tokens of history in it, 2,000 by default. The others are those of ``retrieval_qa``.

    >>> chain = chains.conversational_qa("sim/writer", lambda question: ["The station has 24 turbines."])
    >>> chain.invoke({"question": "How many turbines?", "history": [("Is there a station?", "Yes.")]}).question is None
    False
    """
    settings = _qa_settings(prompt, document_prompt, collapse_prompt, max_tokens, concurrency, no_documents)
    return Chain(
        _core.conversational_qa(
            _model(model)._engine,
            _retriever(retriever),
            strategy,
            settings,
            _prompt(condense_prompt),
            history_tokens,
        )
    )


_SUMMARY = (
    "Summarise the following text in a few sentences. Write only the summary.\n\n{{ context }}\n\nSummary:"
)
_COMBINE = (
    "The following are summaries of the parts of a text. Combine them into one summary of a few sentences. "
    "Write only the summary.\n\n{{ context }}\n\nSummary:"
)
_REFINE = (
    "This is a summary of the beginning of a text:\n\n{{ answer }}\n\nThe text goes on:\n\n{{ context }}\n\n"
    "Write a summary of all of it in a few sentences. Write only the summary.\n\nSummary:"
)


def summary(
    model: Model | str,
    /,
    strategy: Literal["stuff", "map_reduce", "refine"] = "map_reduce",
    *,
    prompt: Chain[Any, Any, Any] | str | None = None,
    document_prompt: Chain[Any, Any, Any] | str | None = None,
    max_tokens: int | None = None,
    concurrency: int | None = None,
) -> Chain[Any, QaAnswer, str]:
    """Summarises documents: a chain from a list of them to an ``QaAnswer``, whose ``text`` is the summary.

    Strategies and prompts are those of ``qa``, without the variable ``question``.

    >>> chains.summary("sim/writer").invoke(["Bears sleep in winter.", "Cats sleep all day."]).text != ""
    True
    """
    if strategy not in ("stuff", "map_reduce", "refine"):
        raise ConfigError(f"strategy must be stuff, map_reduce or refine, got `{strategy}`", kind="config")
    last = {"stuff": _SUMMARY, "map_reduce": _COMBINE, "refine": _REFINE}[strategy]
    chain = qa(
        model,
        strategy,
        prompt=prompt or last,
        document_prompt=None if strategy == "stuff" else document_prompt or _SUMMARY,
        collapse_prompt=_COMBINE if strategy == "map_reduce" else None,
        max_tokens=max_tokens,
        concurrency=concurrency,
        no_documents="",
    )
    return Chain(_core.documents_as_question()) | chain


class Memory:
    """What a conversation remembers. The store keeps all messages, except where a summary replaces them.

    ``Memory.all()`` remembers everything, ``Memory.turns(10)`` the last ten messages of the user with what answered them,
    ``Memory.tokens(2000)`` the last turns of at most so many tokens, and ``Memory.summary(model, 5)`` the last five turns
    and a summary of the earlier ones by a model.
    """

    __slots__ = ("_parts",)

    def __init__(
        self, kind: str, size: int, model: _core.Chain | None = None, prompt: _core.Chain | None = None
    ) -> None:
        self._parts = (kind, size, model, prompt)

    @staticmethod
    def all() -> Memory:
        """Remembers all messages."""
        return Memory("buffer", 0)

    @staticmethod
    def turns(turns: int) -> Memory:
        """Remembers the last turns."""
        return Memory("window", turns)

    @staticmethod
    def tokens(tokens: int) -> Memory:
        """Remembers the last turns of at most so many tokens together, and at least one."""
        return Memory("tokens", tokens)

    @staticmethod
    def summary(
        model: Model | str, turns: int = 5, *, prompt: Chain[Any, Any, Any] | str | None = None
    ) -> Memory:
        """Remembers the last turns, and a summary of the earlier ones.

        ``prompt`` has the variables ``summary``, the summary so far, and ``lines``, the messages since.
        """
        return Memory("summary", turns, _model(model)._engine, _prompt(prompt))


class Sessions:
    """The messages of conversations, by the id of a session: in memory, or in an SQLite file.

    Several processes may use one file. Raises ``ConfigError`` if it cannot be opened.

    >>> sessions = chains.Sessions()
    >>> talk = chains.conversation("sim/writer", sessions)
    >>> answer = talk.invoke({"session": "ada", "text": "hello"})
    >>> [message.role for message in sessions.load("ada")]
    ['user', 'assistant']
    """

    __slots__ = ("_engine",)

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self._engine = _core.sessions(path)

    def load(self, session: str, /) -> list[Message]:
        """The messages of a session, the oldest first. Empty if there is none."""
        return _messages(_loops.run_blocking(self._engine.load(session)))

    async def aload(self, session: str, /) -> list[Message]:
        """The messages of a session, the oldest first. Empty if there is none."""
        return _messages(await _loops.run(self._engine.load(session)))

    def append(self, session: str, messages: Iterable[Any], /) -> None:
        """Adds messages: ``Message``s, pairs of role and text, or dicts."""
        _loops.run_blocking(self._engine.append(session, list(messages)))

    async def aappend(self, session: str, messages: Iterable[Any], /) -> None:
        """Adds messages: ``Message``s, pairs of role and text, or dicts."""
        await _loops.run(self._engine.append(session, list(messages)))

    def clear(self, session: str, /) -> None:
        """Deletes a session."""
        _loops.run_blocking(self._engine.clear(session))

    async def aclear(self, session: str, /) -> None:
        """Deletes a session."""
        await _loops.run(self._engine.clear(session))


def _messages(session: tuple[str | None, list[Message]]) -> list[Message]:
    summary, messages = session
    if summary is None:
        return messages
    return [_core.Message.system(f"What was said before: {summary}"), *messages]


def conversation(
    model: Model | Chain[Any, Any, Any] | str,
    sessions: Sessions | None = None,
    /,
    *,
    memory: Memory | None = None,
    system: str | None = None,
) -> Chain[Mapping[str, str], str, str]:
    """A conversation with memory: a chain from a dict of ``session`` and ``text`` to the text of the answer.

    Messages are loaded before the call and saved after it; a call that fails or is cancelled changes nothing. ``model`` may
    also be a chain from messages to a message, such as a model with tools, whose calls are then saved too. ``sessions``
    are in memory and ``memory`` is ``Memory.all()`` by default. ``system`` is a message before all others.

    >>> from fanweave.testing import echo
    >>> talk = chains.conversation(echo())
    >>> talk.invoke({"session": "ada", "text": "hello"})
    'hello'
    """
    chain = model if isinstance(model, Chain) else _model(model)
    kept = (sessions or Sessions())._engine
    return Chain(_core.conversation(chain._engine, kept, (memory or Memory.all())._parts, system))


def with_history(
    chain: Chain[Mapping[str, Any], Any, Any],
    sessions: Sessions | None = None,
    /,
    *,
    memory: Memory | None = None,
    variable: str = "history",
    question: str = "input",
    session: str = "session",
) -> Chain[Mapping[str, Any], Any, Any]:
    """A chain with the messages of a session as one of its variables.

    The messages are in the variable ``variable``, for ``chat().history(variable)``. The entry ``question`` of the input is
    saved as the message of the user, and the entry ``session``, or the option ``session=`` of the verb, is the id of the
    session. Raises ``ConfigError`` for a run without a session.

    >>> prompt = fw.chat().history("history").user("{{ input }}")
    >>> from fanweave.testing import echo
    >>> talk = chains.with_history(prompt | echo() | fw.text())
    >>> talk.invoke({"input": "hello"}, session="ada")
    'hello'
    """
    kept = (sessions or Sessions())._engine
    parts = (memory or Memory.all())._parts
    return Chain(_core.with_history(chain._engine, kept, parts, variable, question, session))


def math(
    model: Model | str, /, *, prompt: Chain[Any, Any, Any] | str | None = None
) -> Chain[str, dict[str, str], str]:
    """Answers arithmetic questions exactly: the model writes an expression, which is computed without it.

    The output is a dict of ``answer``, a number in decimal notation, and ``expression``. ``prompt`` has the variable
    ``question``. Raises ``ParseError`` if the model writes no expression, or one without a value.

    >>> from fanweave.testing import script
    >>> chains.math(script("12 * 7")).invoke("How many days are twelve weeks?")["answer"]
    '84'
    """
    return Chain(_core.math(_model(model)._engine, _prompt(prompt)))
