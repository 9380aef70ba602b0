//! `fanweave completions` and `fanweave man`: shell completions and manual pages.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::exit::{Exit, Failure};
use crate::out::print;

/// The section about exit codes of each manual page.
const EXIT_STATUS: &str = "\
.SH \"EXIT STATUS\"
.TP\n\\fB0\\fR\nSuccess.
.TP\n\\fB1\\fR\nThe command failed.
.TP\n\\fB2\\fR\nAn argument, file or setting is invalid; no calls were made.
.TP\n\\fB3\\fR\nA batch completed, and some rows failed.
.TP\n\\fB4\\fR\nAll rows already had a result, and \\-\\-fail\\-if\\-done was given.
.TP\n\\fB5\\fR\nStopped early; rerun the same command to resume.
.TP\n\\fB130\\fR\nInterrupted by a second signal.
";

pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "fanweave", &mut script);
    print(&script)?;
    Ok(Exit::Ok)
}

/// Writes a page for the program and one for each command.
pub(crate) fn pages(args: &ManArgs) -> Result<Exit, Failure> {
    let shown = args.folder.display();
    let failed = |e: std::io::Error| Failure::new(format!("{shown}: cannot write manual pages: {e}"));
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    let mut program = Cli::command();
    program.build();
    let commands: Vec<_> =
        program.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect();
    for command in commands.into_iter().chain([program]) {
        let name = command.get_display_name().unwrap_or(command.get_name()).replace(' ', "-");
        let mut page = Vec::new();
        let manual = clap_mangen::Man::new(command).title(name.clone());
        manual.render(&mut page).map_err(failed)?;
        page.extend_from_slice(EXIT_STATUS.as_bytes());
        std::fs::write(args.folder.join(format!("{name}.1")), page).map_err(failed)?;
    }
    Ok(Exit::Ok)
}
