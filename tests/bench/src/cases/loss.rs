//! The loss of a node that feeds others: every node a process, one of them killed or frozen.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};

use crate::{
    fleet::{REST, WARM_UP_MAX},
    object::now_ns,
    outcome::{How, Load, Loss},
    system::{Failure, System},
};

/// Time for what is on its way when the last object was sent.
const DRAIN: Duration = Duration::from_secs(1);
/// Periods without an object that count as a hit.
const HIT_PERIODS: u64 = 10;
/// How many objects short of the last a survivor may be and not count as stranded.
const TAIL: u64 = 40;

/// What happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) load: Load,
    pub(super) rate: u64,
    pub(super) how: How,
    pub(super) victim: usize,
}

/// A node in a process of its own.
struct Remote {
    card: String,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Remote {
    async fn start(system: &dyn System, index: usize, size: usize, cards: &[String]) -> Result<Self, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["node", system.name(), "--index", &index.to_string(), "--size", &size.to_string()]);
        command.args(cards.iter().flat_map(|card| ["--card", card]));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut remote = Self { card: String::new(), child, input, output };
        remote.card = remote.answer("card ").await?;
        Ok(remote)
    }

    async fn tell(&mut self, line: &str) -> Result<(), Failure> {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// What follows this in the next line.
    async fn answer(&mut self, start: &str) -> Result<String, Failure> {
        let line = timeout(WARM_UP_MAX, self.output.next_line()).await.map_err(|_| format!("no {start:?} came"))??;
        let line = line.ok_or("a node ended early")?;
        Ok(line.strip_prefix(start).ok_or_else(|| format!("{line:?} instead of {start:?}"))?.to_owned())
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(kill_process(id.ok_or("the node ended early")?, signal)?)
    }

    /// What this receiver got: number and time of each object, and how many came again.
    async fn dump(&mut self) -> Result<(Vec<(u64, u64)>, u64), Failure> {
        self.tell("dump").await?;
        let doubled = self.answer("doubled ").await?.parse()?;
        let mut receipts = Vec::new();
        loop {
            let line = self.answer("").await?;
            let Some((id, at_ns)) = line.split_once(' ') else {
                return Ok((receipts, doubled));
            };
            receipts.push((id.parse()?, at_ns.parse()?));
        }
    }
}

pub(super) async fn run(system: &dyn System, plan: Plan) -> Result<Loss, Failure> {
    let Load { receivers, size, seconds } = plan.load;
    if !(1..=receivers).contains(&plan.victim) {
        return Err(format!("the node that is lost must be one of 1 to {receivers}").into());
    }
    let (mut nodes, mut cards) = (Vec::new(), Vec::new());
    for index in 0..=receivers {
        let node = Remote::start(system, index, size, &cards).await?;
        cards.push(node.card.clone());
        nodes.push(node);
    }
    for node in &mut nodes[1..] {
        node.answer("ready").await?;
    }
    // Meshes take their shape while the publisher goes on warming up.
    sleep(3 * REST).await;
    nodes[0].tell("victim").await?;
    let interior = nodes[0].answer("victim ").await?;
    let named = (1..cards.len()).find(|index| !interior.is_empty() && cards[*index].contains(&interior));
    let victim = named.unwrap_or(plan.victim);

    let objects = plan.rate * seconds;
    nodes[0].tell(&format!("go {objects} {}", plan.rate)).await?;
    let start = Instant::now();
    sleep(Duration::from_secs(seconds) / 4).await;
    let lost_ns = now_ns();
    nodes[victim].signal(match plan.how {
        How::Kill => Signal::KILL,
        How::Freeze => Signal::STOP,
    })?;
    timeout(WARM_UP_MAX + Duration::from_secs(seconds), nodes[0].answer("sent"))
        .await
        .map_err(|_| format!("the publisher was held up after {:?}", start.elapsed()))??;
    sleep(DRAIN).await;

    let mut loss = Loss::default();
    let end_ns = now_ns() - u64::try_from(DRAIN.as_nanos())?;
    for index in (1..nodes.len()).filter(|index| *index != victim) {
        let (receipts, doubled) = nodes[index].dump().await?;
        tally(&mut loss, &receipts, plan, lost_ns, end_ns);
        loss.doubled += doubled as f64;
    }
    Ok(loss)
}

/// Adds what one survivor saw.
fn tally(loss: &mut Loss, receipts: &[(u64, u64)], plan: Plan, lost_ns: u64, end_ns: u64) {
    let objects = plan.rate * plan.load.seconds;
    loss.lost += objects.saturating_sub(receipts.len() as u64) as f64;
    let stranded = receipts.iter().all(|(id, _)| *id + TAIL < objects);
    let mut gap_ns = 0;
    let before = receipts.iter().map(|(_, at_ns)| *at_ns).take_while(|at_ns| *at_ns <= lost_ns).last();
    let mut last_ns = before.unwrap_or(lost_ns);
    for (_, at_ns) in receipts.iter().filter(|(_, at_ns)| *at_ns > lost_ns) {
        gap_ns = gap_ns.max(at_ns - last_ns);
        last_ns = *at_ns;
    }
    if stranded {
        gap_ns = gap_ns.max(end_ns.saturating_sub(last_ns));
        loss.stranded += 1.0;
    }
    loss.gap_ms = loss.gap_ms.max(gap_ns as f64 / 1e6);
    if gap_ns >= HIT_PERIODS * 1_000_000_000 / plan.rate.max(1) {
        loss.hit += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { load: Load { receivers: 1, size: 1, seconds: 1 }, rate: 100, how: How::Kill, victim: 1 };

    fn seen(ids: impl Iterator<Item = u64>) -> Loss {
        let receipts: Vec<_> = ids.map(|id| (id, id * 10_000_000)).collect();
        let mut loss = Loss::default();
        tally(&mut loss, &receipts, PLAN, 255_000_000, 1_000_000_000);
        loss
    }

    #[test]
    fn survivor_that_misses_nothing_shows_one_period() {
        let loss = seen(0..100);
        assert_eq!((loss.lost, loss.stranded, loss.hit, loss.gap_ms), (0.0, 0.0, 0.0, 10.0));
    }

    #[test]
    fn stranded_survivor_shows_the_time_to_the_end() {
        let loss = seen(0..26);
        assert_eq!((loss.lost, loss.stranded, loss.hit, loss.gap_ms), (74.0, 1.0, 1.0, 750.0));
    }

    #[test]
    fn gap_is_the_longest_between_two_objects() {
        let loss = seen((0..26).chain(60..100));
        assert_eq!((loss.lost, loss.stranded, loss.gap_ms), (34.0, 0.0, 350.0));
    }
}
