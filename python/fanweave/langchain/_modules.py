"""Modules of LangChain that have another place here, and errors for those that are not here."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import types
from collections.abc import Sequence

PACKAGE = "fanweave.langchain."

# Modules that have the names of another one.
ALIASES = {
    "chat_models.openai": "chat_models",
    "docstore": "documents",
    "docstore.document": "documents",
    "embeddings.openai": "embeddings",
    "llms.openai": "llms",
    "prompts.chat": "prompts",
    "prompts.few_shot": "prompts",
    "prompts.prompt": "prompts",
    "runnables.history": "runnables",
    "schema.document": "documents",
    "schema.messages": "schema",
    "schema.output_parser": "output_parsers",
    "schema.runnable": "runnables",
    "vectorstores.faiss": "vectorstores",
}

_WITH_LANGCHAIN = "use LangChain with fanweave.integrations.langchain.ChatFanweave"
ADVICE = {
    "agents": _WITH_LANGCHAIN,
    "cache": "use `fanweave.model(..).cached()`",
    "callbacks": f"{_WITH_LANGCHAIN}, or `aevents` of a chain of fanweave",
    "document_loaders": "use the loaders of LangChain: their documents work here",
    "globals": "use `fanweave.model(..).cached()` in place of a cache, and the logger `fanweave`",
    "smith": _WITH_LANGCHAIN,
    "text_splitter": "use the package langchain-text-splitters: its documents work here",
    "tracers": _WITH_LANGCHAIN,
}


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of ``ALIASES``. The import of any other unknown module raises an error that says what to use."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(PACKAGE):
            return None
        name = fullname.removeprefix(PACKAGE)
        if name in ALIASES:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        advice = ADVICE.get(name.partition(".")[0], f"see docs/migrating.md, or {_WITH_LANGCHAIN}")
        raise ModuleNotFoundError(f"fanweave.langchain has no module `{name}`: {advice}", name=fullname)

    def exec_module(self, module: types.ModuleType) -> None:
        real = importlib.import_module(PACKAGE + ALIASES[module.__name__.removeprefix(PACKAGE)])
        for name in real.__all__ if hasattr(real, "__all__") else dir(real):
            if not name.startswith("_"):
                setattr(module, name, getattr(real, name))
