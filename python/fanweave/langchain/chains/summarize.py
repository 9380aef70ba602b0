"""Summaries of documents."""

from ._documents import load_summarize_chain

__all__ = ["load_summarize_chain"]
