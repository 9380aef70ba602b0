//! The steps, chains, messages and errors of fanweave, without any I/O.
