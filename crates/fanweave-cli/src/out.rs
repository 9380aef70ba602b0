//! What goes to standard output and is no result of a call.

use std::io::{ErrorKind, Write};

use crate::exit::Failure;

/// Prints text. A reader that has seen enough is no failure.
pub(crate) fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}
