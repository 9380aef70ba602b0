"""Documents in prompts."""

from ._retrieval import create_stuff_documents_chain

__all__ = ["create_stuff_documents_chain"]
