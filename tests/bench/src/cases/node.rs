//! A node as a process of its own, led by lines on its standard input.
//!
//! It says `card …` when it runs and, as a receiver, `ready` when it got the first object. The
//! publisher takes `go OBJECTS RATE` (and says `sent` at the end) and `victim` (and says `victim …`);
//! a receiver takes `dump`, and says `doubled N`, a line `ID AT_NS` per object, and `end`. It ends with its input.

use std::{fmt::Write as _, io::Write as _, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    fleet::{MEASURED, WARM_UP, WARM_UP_PAUSE},
    inbox::Inbox,
    object::Press,
    system::{Failure, Member, Seat, System},
};

/// Runs node `index` until its input ends.
///
/// # Errors
/// Whatever kept it from starting.
pub(crate) async fn node(system: &dyn System, index: usize, size: usize, cards: Vec<String>) -> Result<(), Failure> {
    let inbox = Inbox::new(Arc::default());
    inbox.open(WARM_UP, false);
    let seat = Seat { index, size, cards, inbox: Arc::clone(&inbox) };
    let publishes = seat.publishes();
    let member = system.start(seat).await?;
    say(&format!("card {}\n", member.card()))?;
    let lines = BufReader::new(stdin()).lines();
    if publishes { publish(member, size, lines).await } else { receive(&inbox, lines).await }
}

fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

async fn publish(mut member: Box<dyn Member>, size: usize, mut lines: Lines<BufReader<Stdin>>) -> Result<(), Failure> {
    let press = Press::new(size);
    let mut warm_up = 0;
    loop {
        let line = match timeout(WARM_UP_PAUSE, lines.next_line()).await {
            Ok(line) => line?,
            Err(_) => {
                // Nobody may be there yet.
                let _ = member.send(press.object(WARM_UP, warm_up)).await;
                warm_up += 1;
                continue;
            }
        };
        let Some(line) = line else {
            return Ok(());
        };
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["victim"] => say(&format!("victim {}\n", member.interior().await.unwrap_or_default()))?,
            ["go", objects, rate] => {
                let (objects, rate) = (objects.parse()?, rate.parse::<u32>()?);
                let start = Instant::now();
                for id in 0..objects {
                    sleep_until(start + Duration::from_secs_f64(id as f64 / f64::from(rate))).await;
                    member.send(press.object(MEASURED, id)).await?;
                }
                say("sent\n")?;
                // The link must stay until the receivers are asked.
                while lines.next_line().await?.is_some() {}
                return Ok(());
            }
            _ => return Err(format!("a publisher does not understand {line:?}").into()),
        }
    }
}

async fn receive(inbox: &Inbox, mut lines: Lines<BufReader<Stdin>>) -> Result<(), Failure> {
    while inbox.unique() == 0 {
        sleep(Duration::from_millis(5)).await;
    }
    inbox.open(MEASURED, true);
    say("ready\n")?;
    while let Some(line) = lines.next_line().await? {
        if line != "dump" {
            return Err(format!("a receiver does not understand {line:?}").into());
        }
        let found = inbox.close();
        let mut text = format!("doubled {}\n", found.doubled);
        for receipt in &found.receipts {
            writeln!(text, "{} {}", receipt.id, receipt.at_ns)?;
        }
        text.push_str("end\n");
        say(&text)?;
    }
    Ok(())
}
