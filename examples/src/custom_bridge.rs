//! A bridge that appends every message to a file, as one line: the topic, a space, the payload.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gateway_model::{Bridge, BridgeState, Message, Receipt, Settlement};

/// How long to wait before a line is written again that could not be.
const RETRY: Duration = Duration::from_secs(1);

pub struct Appender {
    path: PathBuf,
    /// Opened when first needed, and again after an error.
    file: Option<File>,
    state: Arc<Mutex<BridgeState>>,
}

impl Appender {
    /// A path that cannot be written yet is not an error: it is tried until it can.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, state: Arc::new(Mutex::new(BridgeState::Starting)) }
    }

    /// One write for the whole line, so that no half line is left behind by an error between two.
    /// It blocks as long as the page cache takes; a slow sink would need a thread of its own.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let opened = OpenOptions::new().create(true).append(true).open(&self.path)?;
                self.file.insert(opened)
            }
        };
        file.write_all(line)
    }

    fn set_state(&self, state: BridgeState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl Bridge for Appender {
    fn send(
        &mut self,
        message: Arc<Message>,
        receipt: Receipt,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let line = [message.topic.as_bytes(), b" ", &message.payload, b"\n"].concat();
            // For ever: only what can never be written (here: nothing) may be dropped. Because this
            // waits, the next message is not taken, and order is kept.
            while let Err(error) = self.append(&line) {
                self.file = None;
                let cause = format!("{}: {error}", self.path.display());
                self.set_state(BridgeState::Retrying(cause.into()));
                tokio::time::sleep(RETRY).await;
            }
            self.set_state(BridgeState::Connected);
            receipt.settle(Settlement::Delivered);
        })
    }

    fn watch(&self) -> Box<dyn Fn() -> BridgeState + Send + Sync> {
        let state = self.state.clone();
        Box::new(move || state.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn close(self: Box<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // Every receipt was settled before `send` returned; the file closes itself.
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests;
