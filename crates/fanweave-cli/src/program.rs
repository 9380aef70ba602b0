//! One run of the program: what it shares between its modules, instead of globals of the process.

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fanweave::models::{Adaptation, adaptations};

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
    /// The changes to requests that servers refused before this run, in the same process.
    pub(crate) adapted_before: Arc<[Adaptation]>,
    /// Set once a summary has those of this run.
    pub(crate) noted_adaptations: Arc<AtomicBool>,
}

impl Program {
    pub(crate) fn new(args: Vec<OsString>, stop: Stop) -> Self {
        Self {
            args,
            config: Config::default(),
            stop,
            terminal: Terminal::default(),
            adapted_before: adaptations().into(),
            noted_adaptations: Arc::default(),
        }
    }
}
