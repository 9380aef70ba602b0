//! Many LLM calls at once.
