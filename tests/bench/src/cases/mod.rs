//! The pieces of work. Each runs in a process of its own.

mod latency;
mod loss;
mod node;
mod stall;
mod sustained;

use std::{env, os::unix::process::CommandExt as _, process::Command};

use crate::{
    outcome::{Outcome, Work},
    system::{Failure, System},
};

pub(crate) use self::{node::node, stall::stall};

/// Runs this process anew, unless its environment is what the system needs when all nodes share it.
fn enter_environment(system: &dyn System) -> Result<(), Failure> {
    match system.environment() {
        Some((name, value)) if env::var_os(name).is_none() => {
            let mut command = Command::new(env::current_exe()?);
            Err(command.args(env::args_os().skip(1)).env(name, value).exec().into())
        }
        _ => Ok(()),
    }
}

/// Does a piece of work in this process. A window that is known need not be looked for.
///
/// # Errors
/// Whatever kept it from being done.
pub(crate) async fn run(system: &'static dyn System, work: Work, window: Option<u64>) -> Result<Outcome, Failure> {
    if !matches!(work, Work::Loss { .. }) {
        enter_environment(system)?;
    }
    match work {
        Work::Sustained { load } => sustained::run(system, load, window).await.map(Outcome::Sustained),
        Work::Latency { load, rate } => latency::run(system, load, rate).await.map(Outcome::Latency),
        Work::Loss { load, rate, how, victim } => {
            loss::run(system, loss::Plan { load, rate, how, victim }).await.map(Outcome::Loss)
        }
    }
}
