"""Chains: prompts and models with the verbs ``run``, ``arun``, ``acall`` and those of all runnables."""

from ._base import (
    Chain,
    ConversationChain,
    LLMChain,
    LLMMathChain,
    SequentialChain,
    SimpleSequentialChain,
    TransformChain,
)
from ._documents import (
    BaseCombineDocumentsChain,
    MapReduceDocumentsChain,
    MapRerankDocumentsChain,
    RefineDocumentsChain,
    StuffDocumentsChain,
    load_qa_chain,
    load_summarize_chain,
)
from ._retrieval import (
    ChatVectorDBChain,
    ConversationalRetrievalChain,
    RetrievalQA,
    VectorDBQA,
    create_retrieval_chain,
)

__all__ = [
    "BaseCombineDocumentsChain",
    "Chain",
    "ChatVectorDBChain",
    "ConversationChain",
    "ConversationalRetrievalChain",
    "LLMChain",
    "LLMMathChain",
    "MapReduceDocumentsChain",
    "MapRerankDocumentsChain",
    "RefineDocumentsChain",
    "RetrievalQA",
    "SequentialChain",
    "SimpleSequentialChain",
    "StuffDocumentsChain",
    "TransformChain",
    "VectorDBQA",
    "create_retrieval_chain",
    "load_qa_chain",
    "load_summarize_chain",
]
