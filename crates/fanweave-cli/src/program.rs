//! One run of the program: what it shares between its modules, instead of globals of the process.

use std::ffi::OsString;

use crate::config::Config;
use crate::keyboard::Terminal;
use crate::stop::Stop;

pub(crate) struct Program {
    /// The arguments, without the name of the program.
    pub(crate) args: Vec<OsString>,
    /// The configuration files. Empty for commands that read none.
    pub(crate) config: Config,
    /// Requests to stop.
    pub(crate) stop: Stop,
    /// The terminal, if its modes are changed.
    pub(crate) terminal: Terminal,
}

impl Program {
    pub(crate) fn new(args: Vec<OsString>, stop: Stop) -> Self {
        Self { args, config: Config::default(), stop, terminal: Terminal::default() }
    }
}
