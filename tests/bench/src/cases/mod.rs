//! The pieces of work. Each runs in a process of its own.

mod latency;
mod loss;
mod node;
mod stall;
mod sustained;

use crate::{
    outcome::{Outcome, Work},
    system::{Failure, System},
};

pub(crate) use self::{node::node, stall::stall};

/// Does a piece of work in this process. A window that is known need not be looked for.
///
/// # Errors
/// Whatever kept it from being done.
pub(crate) async fn run(system: &'static dyn System, work: Work, window: Option<u64>) -> Result<Outcome, Failure> {
    match work {
        Work::Sustained { load } => sustained::run(system, load, window).await.map(Outcome::Sustained),
        Work::Latency { load, rate } => latency::run(system, load, rate).await.map(Outcome::Latency),
        Work::Loss { load, rate, how, victim } => {
            loss::run(system, loss::Plan { load, rate, how, victim }).await.map(Outcome::Loss)
        }
    }
}
