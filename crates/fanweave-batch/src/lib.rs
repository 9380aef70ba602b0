//! Runs any fanweave chain over many rows: sources, ordered results, journal.
