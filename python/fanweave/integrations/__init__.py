"""Other packages on the engine: transports for ``httpx``, and models for LangChain."""
