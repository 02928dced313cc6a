//! The `tegata` binary.
use std::process::ExitCode;

use clap::Parser as _;
use tegata::args::Args;
use tegata::commands;
use tegata::commands::Exit;

fn main() -> ExitCode {
    let exit = match Args::try_parse() {
        Ok(args) => run(args),
        Err(error) if error.use_stderr() => {
            eprintln!("tegata: {}; see `tegata --help`", commands::usage_line(&error));
            Exit::Usage
        }
        // Help and version: asked for, so they go to standard output and are a success.
        Err(error) => error.print().map_or(Exit::Usage, |()| Exit::Success),
    };
    ExitCode::from(exit as u8)
}

fn run(args: Args) -> Exit {
    // An error means that a provider is installed already, which nothing before this line does.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(commands::run(args)));
    match result {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("tegata: {}", tegata::error::one_line(error.as_ref()));
            commands::exit_of(error.as_ref())
        }
    }
}
