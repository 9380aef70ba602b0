//! A simulated LLM provider, in process and as a server.
