"""Chains that answer from the documents of a retriever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..._errors import InputError
from .._running import Run, call
from ..output_parsers import StrOutputParser
from ..prompts import BasePromptTemplate, PromptTemplate
from ..runnables import Runnable, RunnableLambda, RunnablePassthrough
from ..schema import get_buffer_string
from ._base import Chain, answer, refuse
from ._documents import BaseCombineDocumentsChain, load_qa_chain


def retriever_of(value: Any) -> Any:
    """A retriever, or the one of a store of vectors."""
    return value.as_retriever() if hasattr(value, "as_retriever") else value


async def documents_of(retriever: Any, query: str, run: Run) -> list[Any]:
    """The documents of a retriever: one of fanweave, or anything with ``ainvoke``, ``invoke`` or their old names."""
    if isinstance(retriever, Runnable):
        return list(await retriever._run(query, run))
    for name in ("ainvoke", "aget_relevant_documents"):
        if hasattr(retriever, name):
            return list(await getattr(retriever, name)(query))
    for name in ("invoke", "get_relevant_documents"):
        if hasattr(retriever, name):
            return list(await call(getattr(retriever, name), run, query))
    raise TypeError(f"{type(retriever).__name__} is not a retriever: it has neither ainvoke nor invoke")


class RetrievalQA(Chain):
    """Answers ``query`` from the documents that a retriever finds. The output is ``result``."""

    def __init__(
        self,
        *,
        retriever: Any,
        combine_documents_chain: BaseCombineDocumentsChain,
        return_source_documents: bool = False,
        input_key: str = "query",
        output_key: str = "result",
        **settings: Any,
    ) -> None:
        refuse(type(self).__name__, settings)
        self.retriever = retriever_of(retriever)
        self.combine_documents_chain = combine_documents_chain
        self.return_source_documents = return_source_documents
        self._input_key = input_key
        self._output_key = output_key

    @classmethod
    def from_chain_type(
        cls,
        llm: Any,
        chain_type: str = "stuff",
        *,
        chain_type_kwargs: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> RetrievalQA:
        """A chain over a model. ``chain_type`` is stuff, map_reduce, refine or map_rerank."""
        combine = load_qa_chain(llm, chain_type, **(chain_type_kwargs or {}))
        return cls(combine_documents_chain=combine, **settings)

    @classmethod
    def from_llm(cls, llm: Any, prompt: BasePromptTemplate | None = None, **settings: Any) -> RetrievalQA:
        """A chain over a model, with all documents in one prompt."""
        chosen = {} if prompt is None else {"prompt": prompt}
        return cls(combine_documents_chain=load_qa_chain(llm, "stuff", **chosen), **settings)

    @property
    def input_keys(self) -> list[str]:
        """The name of the question."""
        return [self._input_key]

    @property
    def output_keys(self) -> list[str]:
        """The name of the answer, and ``source_documents`` if they are returned."""
        return [self._output_key, *(["source_documents"] if self.return_source_documents else [])]

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        question = inputs[self._input_key]
        documents = await documents_of(self.retriever, question, run)
        combined = await self.combine_documents_chain._run(
            {"input_documents": documents, "question": question}, run
        )
        outputs = {self._output_key: combined["output_text"]}
        if self.return_source_documents:
            outputs["source_documents"] = documents
        return outputs


class VectorDBQA(RetrievalQA):
    """``RetrievalQA`` over a store of vectors."""

    def __init__(self, *, vectorstore: Any, k: int = 4, **settings: Any) -> None:
        super().__init__(retriever=vectorstore.as_retriever(search_kwargs={"k": k}), **settings)


_CONDENSE = (
    "Rewrite the follow-up question so that it can be understood without the conversation, in the same language.\n\n"
    "{chat_history}\nFollow-up question: {question}\nRewritten question:"
)


class ConversationalRetrievalChain(Chain):
    """Answers ``question`` from the documents of a retriever, with ``chat_history``: pairs of a question and an answer, or messages.

    With a history, the model first rewrites the question so that it stands on its own.
    """

    def __init__(
        self,
        *,
        retriever: Any,
        combine_docs_chain: BaseCombineDocumentsChain,
        llm: Any,
        condense_question_prompt: BasePromptTemplate | None = None,
        return_source_documents: bool = False,
        return_generated_question: bool = False,
        output_key: str = "answer",
        memory: Any = None,
        **settings: Any,
    ) -> None:
        refuse(type(self).__name__, settings)
        self.retriever = retriever_of(retriever)
        self.combine_docs_chain = combine_docs_chain
        self.llm = llm
        self.condense = condense_question_prompt or PromptTemplate.from_template(_CONDENSE)
        self.return_source_documents = return_source_documents
        self.return_generated_question = return_generated_question
        self.output_key = output_key
        self.memory = memory

    @classmethod
    def from_llm(
        cls,
        llm: Any,
        retriever: Any = None,
        *,
        vectorstore: Any = None,
        chain_type: str = "stuff",
        combine_docs_chain_kwargs: Mapping[str, Any] | None = None,
        condense_question_llm: Any = None,
        **settings: Any,
    ) -> ConversationalRetrievalChain:
        """A chain over a model and a retriever, or a store of vectors."""
        found = retriever if retriever is not None else vectorstore
        if found is None:
            raise TypeError("from_llm needs a retriever or a store of vectors")
        combine = load_qa_chain(llm, chain_type, **(combine_docs_chain_kwargs or {}))
        return cls(retriever=found, combine_docs_chain=combine, llm=condense_question_llm or llm, **settings)

    @property
    def input_keys(self) -> list[str]:
        """``question`` and ``chat_history``."""
        return ["question", "chat_history"]

    @property
    def output_keys(self) -> list[str]:
        """The name of the answer, and what else is returned."""
        keys = [self.output_key]
        keys += ["source_documents"] if self.return_source_documents else []
        return keys + (["generated_question"] if self.return_generated_question else [])

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        question = inputs["question"]
        history = _history(inputs["chat_history"])
        if history:
            filled = await self.condense._run({"chat_history": history, "question": question}, run)
            question = (await answer(self.llm, filled, run)).strip()
        documents = await documents_of(self.retriever, question, run)
        values = {**inputs, "question": question, "chat_history": history, "input_documents": documents}
        outputs: dict[str, Any] = {
            self.output_key: (await self.combine_docs_chain._run(values, run))["output_text"]
        }
        if self.return_source_documents:
            outputs["source_documents"] = documents
        if self.return_generated_question:
            outputs["generated_question"] = question
        return outputs


ChatVectorDBChain = ConversationalRetrievalChain


def _history(history: Any) -> str:
    """A history as a text: it is one, or pairs of a question and an answer, or messages."""
    if isinstance(history, str):
        return history
    lines = []
    for each in history:
        if hasattr(each, "content"):
            lines.append(get_buffer_string([each]))
        elif isinstance(each, Sequence) and len(each) == 2:
            lines.append(f"Human: {each[0]}\nAssistant: {each[1]}")
        else:
            message = f"chat_history must be pairs of a question and an answer, or messages, got {each!r}"
            raise InputError(message, kind="input")
    return "\n".join(lines)


def create_stuff_documents_chain(
    llm: Any,
    prompt: BasePromptTemplate,
    *,
    output_parser: Any = None,
    document_separator: str = "\n\n",
    document_variable_name: str = "context",
) -> Runnable[Any, Any]:
    """A runnable that puts the documents of ``context`` in a prompt as one text, and asks a model."""

    def joined(inputs: Mapping[str, Any]) -> str:
        documents = inputs[document_variable_name]
        if isinstance(documents, str):
            return documents
        return document_separator.join(str(each.page_content) for each in documents)

    filled = RunnablePassthrough.assign(**{document_variable_name: RunnableLambda(joined)})
    made: Runnable[Any, Any] = filled | prompt | llm | (output_parser or StrOutputParser())
    return made


def create_retrieval_chain(retriever: Any, combine_docs_chain: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """A runnable that finds documents for ``input``, as ``context``, and answers from them, as ``answer``."""
    found = retriever_of(retriever)

    async def find(inputs: Mapping[str, Any]) -> list[Any]:
        from .._running import run_of

        return await documents_of(found, inputs["input"], run_of(None))

    return RunnablePassthrough.assign(context=RunnableLambda(find)) | RunnablePassthrough.assign(
        answer=combine_docs_chain
    )
