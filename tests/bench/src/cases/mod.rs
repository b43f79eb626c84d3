//! The pieces of work. Each runs in a process of its own.

mod latency;
mod loss;
mod node;
mod sustained;

use crate::{
    outcome::{Outcome, Work},
    system::{Failure, System},
};

pub(crate) use self::node::node;

/// Does a piece of work in this process.
///
/// # Errors
/// Whatever kept it from being done.
pub(crate) async fn run(system: &'static dyn System, work: Work) -> Result<Outcome, Failure> {
    match work {
        Work::Sustained { load } => sustained::run(system, load).await.map(Outcome::Sustained),
        Work::Latency { load, rate } => latency::run(system, load, rate).await.map(Outcome::Latency),
        Work::Loss { load, rate, how, victim } => {
            loss::run(system, loss::Plan { load, rate, how, victim }).await.map(Outcome::Loss)
        }
    }
}
