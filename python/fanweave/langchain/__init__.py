"""The interface of LangChain: put ``fanweave.`` before its name in the import line.

from fanweave.langchain.llms import OpenAI
from fanweave.langchain.prompts import PromptTemplate
from fanweave.langchain.chains import LLMChain

LangChain itself is not needed. Calls go through the limits, retries and connections of the engine.
"""

from __future__ import annotations

from typing import Any

# Names that older programs import from the package itself.
_LAZY = {
    "ConversationChain": "chains",
    "FAISS": "vectorstores",
    "FewShotPromptTemplate": "prompts",
    "LLMChain": "chains",
    "LLMMathChain": "chains",
    "OpenAI": "llms",
    "PromptTemplate": "prompts",
    "VectorDBQA": "chains",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module `fanweave.langchain` has no attribute `{name}`")
    from importlib import import_module

    return getattr(import_module(f"fanweave.langchain.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
