//! A child that stops reading a live track: what its siblings and the memory notice, and whether it is told.
//!
//! For Banyan alone: others have no way to tell. The child is a leaf with a runtime of its own, whose only
//! thread stands still, so that its sockets stay open and take nothing more.

use std::{
    thread,
    time::{Duration, Instant},
};

use banyan_node::{From, Item, Mode, Node, PublishOptions, Publisher, SubscribeOptions};
use serde::Serialize;
use tokio::{
    runtime,
    sync::oneshot,
    time::{self, sleep},
};

use super::latency;
use crate::{
    fleet::{REST, WARM_UP, WARM_UP_PAUSE},
    inbox::Inbox,
    object::{Press, STAMP_BYTES, Stamp},
    outcome::Load,
    probe,
    system::{ARITY, Failure},
};

const BEFORE: u64 = 2;
const DURING: u64 = 3;
const AFTER: u64 = 4;
/// Objects after the child has gone on, until it must have caught up.
const AFTER_OBJECTS: u64 = 400;

/// What was seen.
#[derive(Debug, Serialize)]
pub(crate) struct Stall {
    /// 99th percentile at the siblings while all read, in µs.
    p99_before_us: f64,
    /// The same while one does not.
    p99_during_us: f64,
    /// Largest memory of the process until it stopped, and after it, in MiB.
    peak_before_mib: f64,
    peak_during_mib: f64,
    /// Objects that siblings did not get.
    lost: u64,
    /// Of the objects since it stopped: what the child got, and how many it was told that it missed.
    got: u64,
    told_missing: u64,
    /// Neither.
    unaccounted: u64,
}

/// Runs it.
///
/// # Errors
/// Whatever kept it from being done.
pub(crate) async fn stall(load: Load, rate: u64) -> Result<Stall, Failure> {
    let size = load.size.max(STAMP_BYTES);
    let slots = u16::try_from(ARITY)? + 1;
    let node = |capacity, bootstrap: Option<&str>| {
        let builder = Node::builder().mdns(false).listen("/ip4/127.0.0.1/tcp/0").capacity(capacity).root_slots(slots);
        bootstrap.into_iter().fold(builder, banyan_node::Builder::bootstrap)
    };
    let origin = node(slots, None).start().await?;
    let address = loop {
        match origin.status().await?.addresses.first() {
            Some(address) => break address.clone(),
            None => sleep(Duration::from_millis(1)).await,
        }
    };
    let track: banyan_node::TrackName = "bench".parse()?;
    let mut publisher =
        origin.publish(track.clone(), PublishOptions { mode: Mode::Live, ..PublishOptions::default() }).await?;

    // The child first, so that it hangs below the publisher.
    let ((ready, is_ready), (stop, stopped)) = (oneshot::channel(), oneshot::channel::<Duration>());
    let (builder, subscribed) = (node(0, Some(&address)), track.clone());
    let objects = rate * load.seconds;
    let child = thread::spawn(move || -> Result<(u64, u64), String> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let node = builder.start().await.map_err(|error| error.to_string())?;
            let options = SubscribeOptions { from: From::Latest };
            let mut subscriber = node.subscribe(subscribed, options).await.map_err(|error| error.to_string())?;
            subscriber.next().await;
            let _ = ready.send(());
            // It reads on until it is stopped.
            tokio::pin!(stopped);
            let length = loop {
                tokio::select! {
                    biased;
                    length = &mut stopped => break length.map_err(|error| error.to_string())?,
                    _ = subscriber.next() => {}
                }
            };
            thread::sleep(length);
            let (mut got, mut told) = (0, 0);
            loop {
                match subscriber.next().await {
                    Item::Object { payload, .. } => match Stamp::read(&payload) {
                        Some(stamp) if stamp.phase == DURING => got += 1,
                        Some(stamp) if stamp.phase == AFTER && stamp.id + 1 == AFTER_OBJECTS => return Ok((got, told)),
                        Some(stamp) if stamp.phase == AFTER => got += 1,
                        _ => {}
                    },
                    Item::Gap { from, to } => told += to - from,
                    Item::End(end) => return Err(format!("the track ended: {end:?}")),
                    _ => {}
                }
            }
        })
    });
    let (mut inboxes, mut nodes) = (Vec::new(), Vec::new());
    for _ in 0..load.receivers {
        let inbox = Inbox::new(std::sync::Arc::default());
        let node = node(slots, Some(&address)).start().await?;
        let mut subscriber = node.subscribe(track.clone(), SubscribeOptions { from: From::Latest }).await?;
        let taken = std::sync::Arc::clone(&inbox);
        tokio::spawn(async move {
            loop {
                match subscriber.next().await {
                    Item::Object { payload, .. } => taken.take(&payload),
                    Item::End(_) => return,
                    _ => {}
                }
            }
        });
        inbox.open(WARM_UP, false);
        inboxes.push(inbox);
        nodes.push(node);
    }
    let press = Press::new(size);
    let mut is_ready = is_ready;
    let mut warm_up = 0;
    while inboxes.iter().any(|inbox| inbox.unique() == 0) || is_ready.try_recv().is_err() {
        publisher.send(press.object(WARM_UP, warm_up)).await?;
        warm_up += 1;
        sleep(WARM_UP_PAUSE).await;
        if warm_up > 1_000 {
            return Err("not everybody got an object".into());
        }
    }
    sleep(REST).await;

    let (p99_before_us, lost_before) = phase(&mut publisher, &press, &inboxes, BEFORE, rate, objects).await?;
    let peak_before_mib = mib();
    let _ = stop.send(Duration::from_secs(load.seconds));
    let (p99_during_us, lost_during) = phase(&mut publisher, &press, &inboxes, DURING, rate, objects).await?;
    let peak_during_mib = mib();
    let (_, lost_after) = phase(&mut publisher, &press, &inboxes, AFTER, rate, AFTER_OBJECTS).await?;
    let (got, told_missing) =
        tokio::task::spawn_blocking(move || child.join()).await?.map_err(|_| "the child's thread panicked")??;
    Ok(Stall {
        p99_before_us,
        p99_during_us,
        peak_before_mib,
        peak_during_mib,
        lost: lost_before + lost_during + lost_after,
        got,
        told_missing,
        unaccounted: (objects + AFTER_OBJECTS - 1).saturating_sub(got + told_missing),
    })
}

fn mib() -> f64 {
    probe::peak_bytes() as f64 / f64::from(1 << 20)
}

/// Sends objects of a phase; returns the 99th percentile of their latency and how many did not come.
async fn phase(
    publisher: &mut Publisher,
    press: &Press,
    inboxes: &[std::sync::Arc<Inbox>],
    phase: u64,
    rate: u64,
    objects: u64,
) -> Result<(f64, u64), Failure> {
    inboxes.iter().for_each(|inbox| inbox.open(phase, true));
    let start = time::Instant::now();
    for id in 0..objects {
        time::sleep_until(start + Duration::from_secs_f64(id as f64 / rate as f64)).await;
        publisher.send(press.object(phase, id)).await?;
    }
    let waited = Instant::now();
    while inboxes.iter().any(|inbox| inbox.unique() < objects) && waited.elapsed() < Duration::from_secs(3) {
        sleep(Duration::from_millis(5)).await;
    }
    let found: Vec<_> = inboxes.iter().map(|inbox| inbox.close()).collect();
    let times = latency::times_ns(&found);
    let lost = (objects * inboxes.len() as u64).saturating_sub(times.len() as u64);
    Ok((latency::at_us(&times, 0.99), lost))
}
