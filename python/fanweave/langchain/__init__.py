"""The interface of LangChain: put ``fanweave.`` before its name in the import line.

from fanweave.langchain.llms import OpenAI
from fanweave.langchain.prompts import PromptTemplate
from fanweave.langchain.chains import LLMChain

LangChain itself is not needed. Calls go through the limits, retries and connections of the engine.
"""

from __future__ import annotations

import sys
from typing import Any

from ._modules import Finder

if not any(isinstance(each, Finder) for each in sys.meta_path):
    # The last one: modules that are here are found before.
    sys.meta_path.append(Finder())

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
