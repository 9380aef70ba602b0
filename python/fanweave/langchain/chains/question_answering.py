"""Answers from documents."""

from ._documents import load_qa_chain

__all__ = ["load_qa_chain"]
