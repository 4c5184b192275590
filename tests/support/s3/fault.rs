//! What a server can do wrong, and a body that breaks off.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// What is wrong with one request.
#[derive(Clone)]
pub(crate) enum Fault {
    None,
    /// This answer instead of the store's.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// It is done, but the answer is lost.
    Lost,
    /// The connection breaks before anything is done.
    Reset,
    /// The answer breaks off after so many bytes of its body.
    Truncated(usize),
    /// Nothing more comes after so many bytes of the answer's body.
    Stalled(usize),
    /// All is done, but so much later, and the answer comes in pieces so far apart.
    Slow(Duration),
    /// Nothing is done until so many requests have come.
    Meet(Arc<tokio::sync::Barrier>),
    /// A bit of what arrives is not what was sent.
    Flipped,
}

/// A refusal with its document.
pub(crate) fn refusal(status: u16, code: &str) -> Fault {
    let text =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    Fault::Answer(status, Vec::new(), text)
}

/// A body that may break off.
pub(super) struct Broken {
    bytes: Bytes,
    left: u64,
    fault: Fault,
    sent: usize,
    /// What came before the break has been sent.
    flushed: bool,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Broken {
    pub(super) fn new(bytes: Bytes, fault: Fault) -> Self {
        Self {
            left: bytes.len() as u64,
            bytes,
            fault,
            sent: 0,
            flushed: false,
            pause: None,
        }
    }
}

impl hyper::body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let at = match self.fault {
            Fault::Truncated(at) | Fault::Stalled(at) => at,
            _ => usize::MAX,
        };
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        if self.sent >= at {
            if matches!(self.fault, Fault::Truncated(_)) {
                if !std::mem::replace(&mut self.flushed, true) {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(Some(Err(std::io::Error::other("truncated"))));
            }
            // Nobody wakes this any more.
            return Poll::Pending;
        }
        if let Fault::Slow(pause) = self.fault {
            let sleep = self
                .pause
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        let most = self.bytes.len().min(at - self.sent).min(64 << 10);
        let slice = self.bytes.split_to(most);
        self.sent += most;
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left - self.sent as u64)
    }
}
