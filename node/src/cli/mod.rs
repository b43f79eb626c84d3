//! The command line: a thin client of the [local API](crate::api), but for `run`, `demo` and `bench fanout`.

mod args;
mod bench;
mod client;
mod config;
mod control;
mod debug;
mod demo;
mod doctor;
mod exit;
mod key;
mod library;
mod log;
mod notify;
mod peers;
mod pipe;
mod program;
mod publish;
mod reload;
mod render;
mod repairs;
mod run;
mod show;
mod signals;
mod sse;
mod subscribe;
mod top;
mod usage;
mod wait;
mod watch;
mod why;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use self::{
    args::{Cli, Command},
    exit::{Exit, Failure, Outcome},
};

/// Runs the program and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let json = usage::wants_json(&words);
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error, json).into(),
    };
    let (runtime, command) = match runtime(&cli.command) {
        Ok(runtime) => (runtime, cli.command),
        Err(failure) => return failure.print(json).into(),
    };
    let exit = match runtime.block_on(execute(command)) {
        Ok(()) => Exit::Ok,
        Err(failure) => failure.print(json),
    };
    // A thread that still waits for standard input or output is not waited for.
    runtime.shutdown_background();
    exit.into()
}

fn runtime(command: &Command) -> Outcome<tokio::runtime::Runtime> {
    let mut builder = match command {
        Command::Run(_) | Command::Demo(_) | Command::Bench(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build().map_err(|error| {
        Failure::internal(format!("cannot start: {error}"), "are there too many processes or open files?")
    })
}

async fn execute(command: Command) -> Outcome {
    match command {
        // It reads the arguments again, with what the environment and a file set beside them.
        Command::Run(_) => run::run().await,
        Command::Publish(args) => publish::publish(args).await,
        Command::Subscribe(args) => subscribe::subscribe(args).await,
        Command::Status(args) => show::status(args).await,
        Command::Peers(args) => peers::peers(args).await,
        Command::Tracks(args) => show::tracks(args).await,
        Command::Tree(args) => show::tree(args).await,
        Command::Top(args) => top::top(args).await,
        Command::Events(args) => show::events(args).await,
        Command::Debug(args) => debug::debug(args).await,
        Command::Doctor(args) => doctor::doctor(args).await,
        Command::Wait(args) => wait::wait(args).await,
        Command::Why(args) => why::why(args).await,
        Command::Repairs(args) => repairs::repairs(args).await,
        Command::Event(args) => control::event(args).await,
        Command::Tags(args) => control::tags(args).await,
        Command::Capacity(args) => control::capacity(args).await,
        Command::Join(args) => control::join(args).await,
        Command::Leave(args) => control::leave(args).await,
        Command::Log(args) => control::log(args).await,
        Command::Config(command) => config::config(command).await,
        Command::Completions(args) => program::completions(args),
        Command::Man(args) => program::man(args),
        Command::Version(args) => program::version(args),
        Command::Demo(args) => demo::demo(args).await,
        Command::Key(args) => key::key(args).await,
        Command::Invite(args) => key::invite(args).await,
        Command::Library(args) => library::library(args).await,
        Command::Bench(bench) => bench::bench(bench).await,
    }
}
