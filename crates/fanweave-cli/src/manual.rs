//! `fanweave completions` and `fanweave man`: what shells and readers of manuals want to know.

use clap::CommandFactory;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::exit::{Exit, Failure};
use crate::out::print;

/// What the codes mean with which the program ends, for the manual.
const EXIT_STATUS: &str = "\
.SH \"EXIT STATUS\"
.TP\n\\fB0\\fR\nAll went well.
.TP\n\\fB1\\fR\nThe work could not be done.
.TP\n\\fB2\\fR\nThe command line, a file or a setting is wrong; nothing was called.
.TP\n\\fB3\\fR\nA batch ran to its end, and some rows failed.
.TP\n\\fB4\\fR\nEvery row had a result before the run, and \\-\\-fail\\-if\\-done was given.
.TP\n\\fB5\\fR\nStopped before the end; the same command resumes.
.TP\n\\fB130\\fR\nEnded at once by a second signal.
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
