//! What waits for a reader is bounded.
