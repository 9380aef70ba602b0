"""Chains over documents: all in one prompt, one after the other, or each on its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..._errors import ConfigError, ParseError
from .._running import DEFAULT_ROWS, Run, rows
from ..prompts import BasePromptTemplate, PromptTemplate
from ._base import Chain, LLMChain, answer, refuse


class BaseCombineDocumentsChain(Chain):
    """Answers from ``input_documents``: anything with ``page_content`` and ``metadata``. The output is ``output_text``."""

    input_key = "input_documents"
    output_key = "output_text"
    llm: Any
    prompt: BasePromptTemplate
    document_variable: str
    return_steps: bool = False

    @property
    def input_keys(self) -> list[str]:
        """The documents, and the other variables of the prompt."""
        return [self.input_key, *(name for name in self._variables() if name not in self._filled())]

    def _variables(self) -> list[str]:
        return self.prompt.input_variables

    def _filled(self) -> set[str]:
        return {self.document_variable}

    @property
    def output_keys(self) -> list[str]:
        """``output_text``, and the steps if they are returned."""
        return [self.output_key, *(["intermediate_steps"] if self.return_steps else [])]

    def _others(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in inputs.items() if name != self.input_key}


def _variable(prompt: BasePromptTemplate, given: str | None, default: str) -> str:
    """The variable of the documents."""
    if given is not None:
        return given
    if default in prompt.input_variables or len(prompt.input_variables) != 1:
        return default
    return prompt.input_variables[0]


def _checked(prompt: BasePromptTemplate, variable: str) -> str:
    if variable not in prompt.input_variables:
        message = (
            f"the prompt has no variable `{variable}` for the documents: it has {prompt.input_variables}"
        )
        raise ConfigError(message, kind="config")
    return variable


def _page(document: Any, prompt: PromptTemplate | None) -> str:
    if prompt is None:
        return str(document.page_content)
    values = {"page_content": document.page_content, **document.metadata}
    return prompt.format(**{name: values[name] for name in prompt.input_variables if name in values})


class StuffDocumentsChain(BaseCombineDocumentsChain):
    """All documents in one prompt."""

    def __init__(
        self,
        *,
        llm_chain: LLMChain,
        document_variable_name: str | None = None,
        document_prompt: PromptTemplate | None = None,
        document_separator: str = "\n\n",
        **settings: Any,
    ) -> None:
        refuse(type(self).__name__, settings)
        self.llm_chain = llm_chain
        self.llm = llm_chain.llm
        self.prompt = llm_chain.prompt
        variable = _variable(self.prompt, document_variable_name, "context")
        self.document_variable = _checked(self.prompt, variable)
        self.document_prompt = document_prompt
        self.document_separator = document_separator

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        text = self.document_separator.join(
            _page(each, self.document_prompt) for each in inputs[self.input_key]
        )
        filled = await self.prompt._run({**self._others(inputs), self.document_variable: text}, run)
        return {self.output_key: await answer(self.llm, filled, run, stop)}


class MapReduceDocumentsChain(BaseCombineDocumentsChain):
    """A prompt for each document, which run at once, and one for their answers.

    If the answers are longer than ``token_max``, they are combined in groups first.
    """

    def __init__(
        self,
        *,
        llm: Any,
        map_prompt: BasePromptTemplate,
        combine_prompt: BasePromptTemplate,
        map_variable: str = "context",
        combine_variable: str = "summaries",
        token_max: int = 3000,
        return_intermediate_steps: bool = False,
        **settings: Any,
    ) -> None:
        refuse(type(self).__name__, settings)
        self.llm = llm
        self.prompt = map_prompt
        self.combine_prompt = combine_prompt
        self.document_variable = _checked(map_prompt, map_variable)
        self.combine_variable = _checked(combine_prompt, combine_variable)
        self.token_max = token_max
        self.return_steps = return_intermediate_steps

    def _variables(self) -> list[str]:
        return list(dict.fromkeys([*self.prompt.input_variables, *self.combine_prompt.input_variables]))

    def _filled(self) -> set[str]:
        return {self.document_variable, self.combine_variable}

    async def _answers(
        self, prompt: BasePromptTemplate, values: Sequence[Mapping[str, Any]], run: Run
    ) -> list[str]:
        answers = [""] * len(values)

        async def one(i: int) -> str:
            return await answer(self.llm, await prompt._run(values[i], run), run)

        await rows(one, len(values), DEFAULT_ROWS, False, answers.__setitem__)
        return answers

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        others = self._others(inputs)
        pages = [
            {**others, self.document_variable: str(each.page_content)} for each in inputs[self.input_key]
        ]
        steps = answers = await self._answers(self.prompt, pages, run)
        groups = self._groups(answers)
        while len(groups) > 1:
            values = [{**others, self.combine_variable: "\n\n".join(group)} for group in groups]
            answers = await self._answers(self.combine_prompt, values, run)
            groups = self._groups(answers)
        last = {**others, self.combine_variable: "\n\n".join(answers)}
        outputs: dict[str, Any] = {
            self.output_key: (await self._answers(self.combine_prompt, [last], run))[0]
        }
        if self.return_steps:
            outputs["intermediate_steps"] = steps
        return outputs

    def _groups(self, answers: Sequence[str]) -> list[list[str]]:
        """Neighbouring answers, at most ``token_max`` together, and at least two."""
        groups: list[list[str]] = []
        size = 0
        for text in answers:
            tokens = self.llm.get_num_tokens(text)
            if groups and (size + tokens <= self.token_max or len(groups[-1]) < 2):
                groups[-1].append(text)
                size += tokens
            else:
                groups.append([text])
                size = tokens
        return groups


class RefineDocumentsChain(BaseCombineDocumentsChain):
    """An answer from the first document, which the model refines with each of the others."""

    def __init__(
        self,
        *,
        llm: Any,
        question_prompt: BasePromptTemplate,
        refine_prompt: BasePromptTemplate,
        document_variable: str = "context",
        answer_variable: str = "existing_answer",
        return_intermediate_steps: bool = False,
        **settings: Any,
    ) -> None:
        refuse(type(self).__name__, settings)
        self.llm = llm
        self.prompt = question_prompt
        self.refine_prompt = refine_prompt
        self.document_variable = _checked(question_prompt, document_variable)
        self.answer_variable = _checked(refine_prompt, answer_variable)
        self.return_steps = return_intermediate_steps

    def _variables(self) -> list[str]:
        return list(dict.fromkeys([*self.prompt.input_variables, *self.refine_prompt.input_variables]))

    def _filled(self) -> set[str]:
        return {self.document_variable, self.answer_variable}

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        documents = list(inputs[self.input_key])
        if not documents:
            raise ValueError("a refining chain needs at least one document")
        values = self._others(inputs)
        steps: list[str] = []
        for document in documents:
            values[self.document_variable] = str(document.page_content)
            prompt = self.refine_prompt if steps else self.prompt
            steps.append(await answer(self.llm, await prompt._run(values, run), run))
            values[self.answer_variable] = steps[-1]
        outputs: dict[str, Any] = {self.output_key: steps[-1]}
        if self.return_steps:
            outputs["intermediate_steps"] = steps
        return outputs


class MapRerankDocumentsChain(BaseCombineDocumentsChain):
    """A prompt for each document, which run at once. The answer with the best score is returned."""

    def __init__(
        self,
        *,
        llm: Any,
        prompt: BasePromptTemplate,
        document_variable: str = "context",
        return_intermediate_steps: bool = False,
        **settings: Any,
    ) -> None:
        refuse(type(self).__name__, settings)
        self.llm = llm
        self.prompt = prompt
        self.document_variable = _checked(prompt, document_variable)
        self.return_steps = return_intermediate_steps

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        others = self._others(inputs)
        documents = list(inputs[self.input_key])
        found: list[Any] = [None] * len(documents)

        async def one(i: int) -> dict[str, Any]:
            values = {**others, self.document_variable: str(documents[i].page_content)}
            return _scored(await answer(self.llm, await self.prompt._run(values, run), run))

        await rows(one, len(documents), DEFAULT_ROWS, False, found.__setitem__)
        best = max(found, key=lambda each: each["score"])
        outputs: dict[str, Any] = {self.output_key: best["answer"]}
        if self.return_steps:
            outputs["intermediate_steps"] = found
        return outputs


def _scored(text: str) -> dict[str, Any]:
    """An answer and its score, which the last line names."""
    found = re.search(r"^(.*?)\n*\s*Score:\s*(\d+)", text, re.DOTALL | re.IGNORECASE)
    if found is None:
        message = f"the answer has no line such as `Score: 80`: {text[-200:]!r}"
        raise ParseError(message, kind="parse")
    return {"answer": found.group(1).strip(), "score": int(found.group(2))}


_STUFF = (
    "Use the following context to answer the question. If the context does not contain the answer, say so.\n\n"
    "{context}\n\nQuestion: {question}\nAnswer:"
)
_MAP = (
    "Copy the parts of the following text that help to answer the question.\n\n{context}\n\nQuestion: {question}\n"
    "Relevant parts, if any:"
)
_COMBINE = (
    "Answer the question from these excerpts of a long document. If they do not contain the answer, say so.\n\n"
    "{summaries}\n\nQuestion: {question}\nAnswer:"
)
_REFINE = (
    "Question: {question}\nAnswer so far: {existing_answer}\n\nImprove the answer with this context, if it helps. "
    "If it does not, repeat the answer.\n\n{context}\n\nImproved answer:"
)
_RERANK = (
    "Use the following context to answer the question. Then write, on a line of its own, `Score: ` and a number from 0 to "
    "100 that says how completely the context answers it.\n\n{context}\n\nQuestion: {question}\nAnswer:"
)
_SUMMARY = "Write a short summary of the following text.\n\n{text}\n\nSummary:"
_REFINE_SUMMARY = (
    "Summary so far: {existing_answer}\n\nImprove the summary with this text, if it helps. If it does not, repeat the "
    "summary.\n\n{text}\n\nImproved summary:"
)

_TYPES = "stuff, map_reduce, refine or map_rerank"


def load_qa_chain(llm: Any, chain_type: str = "stuff", **settings: Any) -> BaseCombineDocumentsChain:
    """A chain that answers ``question`` from ``input_documents``. ``chain_type`` is stuff, map_reduce, refine or map_rerank.

    Prompts are set by ``prompt``, ``question_prompt``, ``combine_prompt`` and ``refine_prompt``.
    """

    def prompt(name: str, default: str) -> BasePromptTemplate:
        given: BasePromptTemplate | None = settings.pop(name, None)
        return given if given is not None else PromptTemplate.from_template(default)

    if chain_type == "stuff":
        return StuffDocumentsChain(llm_chain=LLMChain(llm=llm, prompt=prompt("prompt", _STUFF)), **settings)
    if chain_type == "map_reduce":
        first, last = prompt("question_prompt", _MAP), prompt("combine_prompt", _COMBINE)
        return MapReduceDocumentsChain(llm=llm, map_prompt=first, combine_prompt=last, **settings)
    if chain_type == "refine":
        first, refine = prompt("question_prompt", _STUFF), prompt("refine_prompt", _REFINE)
        return RefineDocumentsChain(
            llm=llm, question_prompt=first, refine_prompt=refine, document_variable="context", **settings
        )
    if chain_type == "map_rerank":
        return MapRerankDocumentsChain(llm=llm, prompt=prompt("prompt", _RERANK), **settings)
    raise ConfigError(f"chain_type must be {_TYPES}, got `{chain_type}`", kind="config")


def load_summarize_chain(llm: Any, chain_type: str = "stuff", **settings: Any) -> BaseCombineDocumentsChain:
    """A chain that summarises ``input_documents``. ``chain_type`` is stuff, map_reduce or refine."""

    def prompt(name: str, default: str) -> BasePromptTemplate:
        given: BasePromptTemplate | None = settings.pop(name, None)
        return given if given is not None else PromptTemplate.from_template(default)

    if chain_type == "stuff":
        filled = LLMChain(llm=llm, prompt=prompt("prompt", _SUMMARY))
        return StuffDocumentsChain(llm_chain=filled, document_variable_name="text", **settings)
    if chain_type == "map_reduce":
        first, last = prompt("map_prompt", _SUMMARY), prompt("combine_prompt", _SUMMARY)
        return MapReduceDocumentsChain(
            llm=llm,
            map_prompt=first,
            combine_prompt=last,
            map_variable="text",
            combine_variable="text",
            **settings,
        )
    if chain_type == "refine":
        first, refine = prompt("question_prompt", _SUMMARY), prompt("refine_prompt", _REFINE_SUMMARY)
        return RefineDocumentsChain(
            llm=llm, question_prompt=first, refine_prompt=refine, document_variable="text", **settings
        )
    raise ConfigError(f"chain_type must be stuff, map_reduce or refine, got `{chain_type}`", kind="config")
