//! Providers and transport: calls LLM APIs over HTTP for fanweave.
