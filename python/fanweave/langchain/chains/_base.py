"""Chains with the verbs of before runnables: ``run``, ``acall``, ``apply``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..._errors import ConfigError, InputError
from .._running import DEFAULT_ROWS, Run, blocking, call, rows, run_of
from ..chat_models import BaseChatModel
from ..prompts import BasePromptTemplate
from ..runnables import Runnable
from ..schema import text_of


class Chain(Runnable[Any, dict[str, Any]]):
    """A chain from a dict to a dict. ``invoke`` and ``acall`` return the inputs and the outputs, ``run`` the only output."""

    memory: Any = None

    @property
    def input_keys(self) -> list[str]:
        """The names of the inputs."""
        raise NotImplementedError

    @property
    def output_keys(self) -> list[str]:
        """The names of the outputs."""
        raise NotImplementedError

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        raise NotImplementedError

    def _inputs(self, input: Any) -> dict[str, Any]:
        remembered = self.memory.memory_variables if self.memory is not None else []
        needed = [name for name in self.input_keys if name not in remembered]
        if not isinstance(input, Mapping):
            if len(needed) != 1:
                message = f"the chain needs a dict with {needed}, got {type(input).__name__}"
                raise InputError(message, kind="input")
            input = {needed[0]: input}
        inputs = dict(input)
        missing = [name for name in needed if name not in inputs]
        if missing:
            names = ", ".join(f"`{name}`" for name in missing)
            message = f"the inputs {names} of the chain are missing: it got {sorted(inputs)}"
            raise InputError(message, kind="input")
        if self.memory is not None:
            inputs = {**self.memory.load_memory_variables(inputs), **inputs}
        return inputs

    async def _run(self, input: Any, run: Run, **kwargs: Any) -> dict[str, Any]:
        inputs = self._inputs(input)
        outputs = await self._outputs(inputs, run, **kwargs)
        if self.memory is not None:
            remembered = self.memory.memory_variables
            given = {name: value for name, value in inputs.items() if name not in remembered}
            self.memory.save_context(given, outputs)
        return {**inputs, **outputs}

    async def acall(
        self,
        inputs: Any,
        return_only_outputs: bool = False,
        *,
        tags: list[str] | None = None,
        metadata: Any = None,
    ) -> dict[str, Any]:
        """The inputs and the outputs for a dict, or for the only input."""
        outputs = await self._run(inputs, run_of({"tags": tags or [], "metadata": metadata or {}}))
        return self._chosen(outputs) if return_only_outputs else outputs

    def __call__(
        self,
        inputs: Any,
        return_only_outputs: bool = False,
        *,
        tags: list[str] | None = None,
        metadata: Any = None,
    ) -> dict[str, Any]:
        """The inputs and the outputs for a dict, or for the only input."""
        return blocking(lambda: self.acall(inputs, return_only_outputs, tags=tags, metadata=metadata))

    def _chosen(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {name: outputs[name] for name in self.output_keys if name in outputs}

    async def arun(self, *args: Any, **kwargs: Any) -> Any:
        """The only output, for the only input or for named ones."""
        if len(self.output_keys) != 1:
            raise ValueError(f"run is for chains with one output, this one has {self.output_keys}: use acall")
        if (args and kwargs) or len(args) > 1:
            raise ValueError("run takes one value, or inputs by their names")
        outputs = await self._run(args[0] if args else kwargs, run_of(None))
        return outputs[self.output_keys[0]]

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The only output, for the only input or for named ones."""
        return blocking(lambda: self.arun(*args, **kwargs))

    async def aapply(self, input_list: Sequence[Any]) -> list[dict[str, Any]]:
        """The outputs for each of several inputs, which run at once."""
        outputs: list[Any] = [None] * len(input_list)
        run = run_of(None)
        await rows(
            lambda i: self._run(input_list[i], run), len(outputs), DEFAULT_ROWS, False, outputs.__setitem__
        )
        return [self._chosen(each) for each in outputs]

    def apply(self, input_list: Sequence[Any]) -> list[dict[str, Any]]:
        """The outputs for each of several inputs, which run at once."""
        return blocking(lambda: self.aapply(input_list))


def refuse(kind: str, settings: dict[str, Any]) -> None:
    """Raises an error for settings that are not known."""
    settings.pop("verbose", None)
    for name in ("callbacks", "callback_manager"):
        if not settings.get(name):
            settings.pop(name, None)
    if settings:
        name = sorted(settings)[0]
        raise ConfigError(f"`{name}` of {kind} is not supported by fanweave.langchain", kind="config")


async def answer(llm: Any, prompt: Any, run: Run, stop: list[str] | None = None) -> str:
    """The text of the answer of a model, with chat or without, to a filled prompt."""
    kwargs = {} if stop is None else {"stop": stop}
    output = await llm._run(prompt, run, **kwargs)
    return output if isinstance(output, str) else str(output.text)


class LLMChain(Chain):
    """A prompt and a model. The output is the text of the answer, ``text`` by default."""

    def __init__(
        self,
        *,
        llm: Any,
        prompt: BasePromptTemplate,
        output_key: str = "text",
        output_parser: Any = None,
        memory: Any = None,
        **settings: Any,
    ) -> None:
        refuse(type(self).__name__, settings)
        if not isinstance(llm, Runnable):
            raise TypeError(f"llm must be a model of fanweave.langchain, got {type(llm).__name__}")
        self.llm: Any = llm
        self.prompt = prompt
        self.output_key = output_key
        self.output_parser = output_parser
        self.memory = memory

    @property
    def input_keys(self) -> list[str]:
        """The variables of the prompt."""
        return self.prompt.input_variables

    @property
    def output_keys(self) -> list[str]:
        """The name of the output."""
        return [self.output_key]

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        filled = await self.prompt._run(inputs, run)
        text: Any = await answer(self.llm, filled, run, stop)
        if self.output_parser is not None:
            text = await call(self.output_parser.parse, run, text)
        return {self.output_key: text}

    async def apredict(self, **inputs: Any) -> Any:
        """The output for inputs by their names."""
        return (await self.acall(inputs))[self.output_key]

    def predict(self, **inputs: Any) -> Any:
        """The output for inputs by their names."""
        return blocking(lambda: self.apredict(**inputs))

    async def agenerate(self, input_list: Sequence[Mapping[str, Any]], stop: list[str] | None = None) -> Any:
        """The answers to several inputs, as an ``LLMResult``."""
        run = run_of(None)
        prompts = [await self.prompt._run(self._inputs(each), run) for each in input_list]
        if isinstance(self.llm, BaseChatModel):
            return await self.llm.agenerate_prompt(prompts, stop)
        return await self.llm.agenerate([text_of(prompt) for prompt in prompts], stop)

    def generate(self, input_list: Sequence[Mapping[str, Any]], stop: list[str] | None = None) -> Any:
        """The answers to several inputs, as an ``LLMResult``."""
        return blocking(lambda: self.agenerate(input_list, stop))

    @classmethod
    def from_string(cls, llm: Any, template: str) -> LLMChain:
        """A chain of a model and the text of a prompt."""
        from ..prompts import PromptTemplate

        return cls(llm=llm, prompt=PromptTemplate.from_template(template))


class ConversationChain(LLMChain):
    """A conversation: the prompt has the messages before in ``history``, and the new one in ``input``."""

    def __init__(
        self,
        *,
        llm: Any,
        prompt: Any = None,
        memory: Any = None,
        output_key: str = "response",
        **settings: Any,
    ) -> None:
        from ..memory import ConversationBufferMemory
        from ..prompts import PromptTemplate

        default = (
            "This is a conversation between a person and a helpful AI.\n\n{history}\nHuman: {input}\nAI:"
        )
        super().__init__(
            llm=llm,
            prompt=prompt or PromptTemplate.from_template(default),
            memory=memory or ConversationBufferMemory(),
            output_key=output_key,
            **settings,
        )

    @property
    def input_keys(self) -> list[str]:
        """The variables of the prompt that the memory does not fill."""
        return [name for name in self.prompt.input_variables if name not in self.memory.memory_variables]


class SequentialChain(Chain):
    """Chains one after the other. Each reads its inputs from those of all and the outputs so far."""

    def __init__(
        self,
        *,
        chains: Sequence[Chain],
        input_variables: Sequence[str],
        output_variables: Sequence[str] | None = None,
        return_all: bool = False,
        memory: Any = None,
        **settings: Any,
    ) -> None:
        refuse(type(self).__name__, settings)
        self.chains = list(chains)
        self.memory = memory
        self._input_keys = list(input_variables)
        known = {*input_variables, *(memory.memory_variables if memory is not None else ())}
        for each in self.chains:
            missing = [name for name in each.input_keys if name not in known]
            if missing:
                message = (
                    f"`{missing[0]}` is an input of {type(each).__name__}, and no chain before it makes it"
                )
                raise ConfigError(message, kind="config")
            known.update(each.output_keys)
        made = [name for each in self.chains for name in each.output_keys]
        if output_variables is None:
            output_variables = made if return_all else self.chains[-1].output_keys
        unknown = [name for name in output_variables if name not in known]
        if unknown:
            raise ConfigError(f"`{unknown[0]}` of output_variables is not made by any chain", kind="config")
        self._output_keys = list(output_variables)

    @property
    def input_keys(self) -> list[str]:
        """The inputs of the chains that no other makes."""
        return self._input_keys

    @property
    def output_keys(self) -> list[str]:
        """The outputs that are returned."""
        return self._output_keys

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        known = dict(inputs)
        for each in self.chains:
            known.update(await each._run(known, run))
        return {name: known[name] for name in self._output_keys}


class SimpleSequentialChain(Chain):
    """Chains with one input and one output, one after the other. Input and output are ``input`` and ``output``."""

    def __init__(self, *, chains: Sequence[Chain], strip_outputs: bool = False, **settings: Any) -> None:
        refuse(type(self).__name__, settings)
        self.chains = list(chains)
        self.strip_outputs = strip_outputs
        for each in self.chains:
            if len(each.input_keys) != 1 or len(each.output_keys) != 1:
                message = (
                    "chains of a SimpleSequentialChain have one input and one output: use SequentialChain"
                )
                raise ConfigError(message, kind="config")

    @property
    def input_keys(self) -> list[str]:
        """``input``."""
        return ["input"]

    @property
    def output_keys(self) -> list[str]:
        """``output``."""
        return ["output"]

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        value: Any = inputs["input"]
        for each in self.chains:
            value = (await each._run({each.input_keys[0]: value}, run))[each.output_keys[0]]
            if self.strip_outputs:
                value = value.strip()
        return {"output": value}


class TransformChain(Chain):
    """A function from a dict to a dict as a chain."""

    def __init__(
        self,
        *,
        input_variables: Sequence[str],
        output_variables: Sequence[str],
        transform: Callable[..., Any],
        atransform: Callable[..., Any] | None = None,
        **settings: Any,
    ) -> None:
        refuse(type(self).__name__, settings)
        self._input_keys = list(input_variables)
        self._output_keys = list(output_variables)
        self._transform = atransform or transform

    @property
    def input_keys(self) -> list[str]:
        """The names of the inputs."""
        return self._input_keys

    @property
    def output_keys(self) -> list[str]:
        """The names of the outputs."""
        return self._output_keys

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        outputs: dict[str, Any] = await call(self._transform, run, inputs)
        return outputs


class LLMMathChain(Chain):
    """Answers questions with a number: the model writes an expression, which is evaluated exactly, without code."""

    def __init__(
        self,
        *,
        llm: Any,
        prompt: Any = None,
        input_key: str = "question",
        output_key: str = "answer",
        **settings: Any,
    ) -> None:
        from ... import _core
        from ..prompts import PromptTemplate

        refuse(type(self).__name__, settings)
        self.llm = llm
        self.prompt = prompt or PromptTemplate(_core.MATH_PROMPT, template_format="jinja2")
        self._input_key = input_key
        self._output_key = output_key

    @classmethod
    def from_llm(cls, llm: Any, prompt: Any = None, **settings: Any) -> LLMMathChain:
        """A chain over a model."""
        return cls(llm=llm, prompt=prompt, **settings)

    @property
    def input_keys(self) -> list[str]:
        """The name of the question."""
        return [self._input_key]

    @property
    def output_keys(self) -> list[str]:
        """The name of the answer."""
        return [self._output_key]

    async def _outputs(
        self, inputs: dict[str, Any], run: Run, stop: list[str] | None = None
    ) -> dict[str, Any]:
        filled = await self.prompt._run({"question": inputs[self._input_key]}, run)
        text = await answer(self.llm, filled, run)
        return {self._output_key: f"Answer: {_computed(text)}"}


def _computed(text: str) -> str:
    """The value of the expression in an answer: between fences, after ``Answer:``, or the whole text."""
    from ... import _core

    fence = re.search(r"```[A-Za-z]*\n?(.*?)```", text, re.DOTALL)
    if fence is not None:
        return _core.calculate(fence.group(1).strip())
    _, separator, named = text.rpartition("Answer:")
    return _core.calculate((named if separator else text).strip().rstrip("."))
