//! The `fanweave` command.

fn main() {}
