//! What the demo streams, at a steady rate.

use std::{path::Path, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::AsyncReadExt,
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::args::Args;
use crate::cli::exit::{Failure, Outcome};

/// What was sent so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    digest: Sha256,
}

impl Sent {
    pub(super) fn sha256(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }

    fn count(&mut self, payload: &[u8]) {
        self.objects += 1;
        self.bytes += payload.len() as u64;
        self.digest.update(payload);
    }
}

/// Where objects come from.
#[derive(Debug)]
pub(super) struct Feed {
    file: Option<File>,
    /// How many objects there are to be.
    pub(super) objects: u64,
    duration: Duration,
    object_bytes: usize,
}

impl Feed {
    /// Opens the input, if there is one.
    pub(super) async fn open(args: &Args) -> Outcome<Self> {
        let (duration, object_bytes) = (Duration::from_secs(args.seconds.into()), args.size as usize);
        let Some(path) = &args.input else {
            let objects = u64::from(args.rate) * u64::from(args.seconds);
            return Ok(Self { file: None, objects, duration, object_bytes });
        };
        let failed =
            |error| Failure::usage(format!("cannot read {}: {error}", path.display()), "choose another --input");
        let file = File::open(path).await.map_err(failed)?;
        let found = file.metadata().await.map_err(failed)?;
        if !found.is_file() || found.len() == 0 {
            return Err(Failure::usage(
                format!("{} is not a file with content", path.display()),
                "choose another --input",
            ));
        }
        Ok(Self { file: Some(file), objects: found.len().div_ceil(object_bytes as u64), duration, object_bytes })
    }

    /// Sends everything in `length` framing, each object when it is due. `progress` hears of each.
    pub(super) async fn run(
        mut self,
        chunks: &mpsc::Sender<Bytes>,
        mut progress: impl FnMut(&Sent),
        input: Option<&Path>,
    ) -> Outcome<Sent> {
        let start = Instant::now();
        let mut sent = Sent::default();
        while let Some(chunk) = self.next(&sent).await.map_err(|error| {
            let name = input.map_or_else(String::new, |path| path.display().to_string());
            Failure::internal(format!("cannot read {name}: {error}"), "choose another --input")
        })? {
            let share = sent.objects as f64 / self.objects as f64;
            sleep_until(start + self.duration.mul_f64(share)).await;
            sent.count(&chunk[4..]);
            if chunks.send(chunk).await.is_err() {
                let hint = "run it again with the hidden --keep and read the log of n1";
                return Err(Failure::internal("the publishing node stopped taking objects", hint));
            }
            progress(&sent);
        }
        sleep_until(start + self.duration).await;
        Ok(sent)
    }

    /// The next object behind its length; `None` at the end.
    async fn next(&mut self, sent: &Sent) -> std::io::Result<Option<Bytes>> {
        let mut payload = vec![0; self.object_bytes];
        match &mut self.file {
            None if sent.objects == self.objects => return Ok(None),
            None => fastrand::Rng::with_seed(sent.objects).fill(&mut payload),
            Some(file) => {
                let mut length = 0;
                while length < payload.len() {
                    match file.read(&mut payload[length..]).await? {
                        0 => break,
                        more => length += more,
                    }
                }
                payload.truncate(length);
            }
        }
        if payload.is_empty() {
            return Ok(None);
        }
        let mut chunk = BytesMut::with_capacity(4 + payload.len());
        chunk.put_u32(u32::try_from(payload.len()).expect("objects are 1 MiB at most"));
        chunk.put_slice(&payload);
        Ok(Some(chunk.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const OBJECT_BYTES: usize = 1000;

    async fn fed(mut feed: Feed) -> Sent {
        feed.duration = Duration::from_millis(1);
        let (chunks, mut queue) = mpsc::channel::<Bytes>(1);
        let taken = tokio::spawn(async move {
            let mut taken = 0;
            while let Some(chunk) = queue.recv().await {
                taken += chunk.len() as u64;
            }
            taken
        });
        let sent = feed.run(&chunks, |_| {}, None).await.expect("it is taken");
        drop(chunks);
        assert_eq!(taken.await.expect("it ends"), sent.bytes + 4 * sent.objects);
        sent
    }

    #[tokio::test]
    async fn generated_stream_is_the_same_each_time() {
        let feed = || Feed { file: None, objects: 3, duration: Duration::ZERO, object_bytes: OBJECT_BYTES };
        let (first, second) = (fed(feed()).await, fed(feed()).await);
        assert_eq!((first.objects, first.bytes), (3, 3 * OBJECT_BYTES as u64));
        assert_eq!(first.sha256(), second.sha256());
    }

    #[tokio::test]
    async fn file_is_sent_whole() {
        let mut file = tempfile::tempfile().expect("a temporary file");
        let content = vec![7; 2 * OBJECT_BYTES + 5];
        file.write_all(&content).expect("writes");
        std::io::Seek::rewind(&mut file).expect("rewinds");
        let sent = fed(Feed {
            file: Some(File::from_std(file)),
            objects: 3,
            duration: Duration::ZERO,
            object_bytes: OBJECT_BYTES,
        })
        .await;
        assert_eq!((sent.objects, sent.bytes), (3, content.len() as u64));
        assert_eq!(sent.sha256(), <[u8; 32]>::from(Sha256::digest(&content)));
    }
}
