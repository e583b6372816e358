//! `bitacora man`: the manual pages, written from the command line's own help.

use std::fs;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Cli, ManArgs};
use crate::exit::{Exit, Failure};
use crate::terminal::say;

/// Prints the page of the program, or writes one page for each command into a folder.
pub(crate) fn man(args: &ManArgs) -> Result<Exit, Failure> {
    // `bitacora help` has no page of its own.
    let command = Cli::command().disable_help_subcommand(true);
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        let rendered = Man::new(command).render(&mut page);
        rendered.map_err(|error| Failure::new("write the manual page").caused_by(&error))?;
        say(String::from_utf8_lossy(&page).trim_end())?;
        return Ok(Exit::Done);
    };
    let written = fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
    written.map_err(|error| {
        Failure::new(format!("write the manual pages into {}", dir.display())).caused_by(&error)
    })?;
    Ok(Exit::Done)
}
