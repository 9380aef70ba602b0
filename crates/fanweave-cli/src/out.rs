//! What goes to a person and is no result of a call.

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

/// Says something on standard error. Where it cannot be written, nobody is there to be told so, and the work goes on.
macro_rules! tell {
    ($($text:tt)*) => {{
        let line = format!("{}\n", format_args!($($text)*));
        let _ = ::std::io::Write::write_all(&mut anstream::stderr(), line.as_bytes());
    }};
}
pub(crate) use tell;
