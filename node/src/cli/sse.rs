//! Reads server-sent events.

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;

use super::{
    client::{Client, Streamed},
    exit::{Failure, Outcome},
};
use crate::{
    Since,
    views::{Envelope, EventView},
};

/// Longest line of an event stream, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The events of a node from now on.
#[derive(Debug)]
pub(crate) struct Events {
    client: Client,
    stream: Streamed,
    lines: Lines,
}

impl Events {
    pub(crate) async fn open(client: &Client) -> Outcome<Self> {
        Self::open_since(client, Since::Now, true).await
    }

    /// The events of a node since then; `follow`: also those that are still to happen.
    pub(crate) async fn open_since(client: &Client, since: Since, follow: bool) -> Outcome<Self> {
        let since = match since {
            Since::Now => String::new(),
            Since::After(seq) => format!("since={seq}&"),
            Since::Ago(ago) => format!("since={}s&", ago.as_secs()),
            Since::Oldest => "since=all&".to_owned(),
        };
        let stream = client.stream(&format!("/v1/events?{since}follow={follow}")).await?;
        Ok(Self { client: client.clone(), stream, lines: Lines::default() })
    }

    /// The next event; `None` when the node has shut down. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Outcome<Option<EventView>> {
        loop {
            while let Some(line) = self.lines.next_line() {
                let Some(data) = line.strip_prefix(b"data:") else { continue };
                // An event of a newer node that this program does not know is passed over.
                if let Ok(event) = serde_json::from_slice::<Envelope<EventView>>(data) {
                    return Ok(Some(event.data));
                }
            }
            match self.stream.body.frame().await {
                Some(Ok(frame)) => self.lines.push(&frame.into_data().unwrap_or_default())?,
                Some(Err(error)) => return Err(self.client.lost(&error)),
                None => return Ok(None),
            }
        }
    }
}

/// Splits a stream into lines.
#[derive(Debug, Default)]
struct Lines(BytesMut);

impl Lines {
    fn push(&mut self, chunk: &[u8]) -> Outcome {
        if self.0.len() > LINE_BYTES_MAX {
            let hint = "use the same version of banyan for both";
            return Err(Failure::internal("the node sends a line that does not end", hint));
        }
        self.0.extend_from_slice(chunk);
        Ok(())
    }

    fn next_line(&mut self) -> Option<BytesMut> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let line = self.0.split_to(end);
        self.0.advance(1);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in ["event: x\nda", "ta: 1\n", "\n", "rest"] {
            lines.push(chunk.as_bytes()).expect("they are short");
            while let Some(line) = lines.next_line() {
                found.push(String::from_utf8(line.to_vec()).expect("it is text"));
            }
        }
        assert_eq!(found, ["event: x", "data: 1", ""]);
    }
}
