//! The `fanweave` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    fanweave_cli::main()
}
