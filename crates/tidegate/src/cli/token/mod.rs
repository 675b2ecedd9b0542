//! `tidegate token`: tokens for development, and why one is refused. Nothing is sent anywhere.

mod keys;
mod mint;
mod provider;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use super::{exit, load, print};
use provider::InvalidConfiguration;

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Sign a token and print it; for development and tests. A secret comes from a variable or a file, never from an
    /// argument, which other users of the machine could read.
    Mint {
        #[command(flatten)]
        wanted: mint::Wanted,
    },
    /// Print header and claims of a token, and whether it is accepted or why not. Ends with 1 if it is not.
    Verify {
        #[command(flatten)]
        asked: verify::Asked,
    },
}

pub(super) fn run(action: &Action) -> ExitCode {
    let done = match action {
        Action::Mint { wanted } => mint::token(wanted).map(|token| {
            print(&format!("{token}\n"));
            ExitCode::SUCCESS
        }),
        Action::Verify { asked } => verify::verdict(asked).map(|verdict| {
            print(&format!("{:#}\n", verdict.shown));
            match verdict.refused {
                None => ExitCode::SUCCESS,
                Some(why) => {
                    load::complain(&format!("refused: {why}"));
                    ExitCode::from(exit::FAILED)
                }
            }
        }),
    };
    done.unwrap_or_else(|error| {
        if let Some(InvalidConfiguration(problems)) = error.downcast_ref() {
            load::report(problems);
            return ExitCode::from(exit::CONFIG);
        }
        load::complain(&format!("{error:#}"));
        ExitCode::from(exit::FAILED)
    })
}
