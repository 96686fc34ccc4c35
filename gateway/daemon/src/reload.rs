use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Something that can be read again while the gateway runs.
pub struct Reload(Box<dyn Fn(bool) + Send + Sync>);

/// How often files are looked at; a look costs one `stat` per file.
const LOOK_EVERY: Duration = Duration::from_secs(3);

impl Reload {
    /// The closure reads again if what it reads has changed, or, if its argument is true, in any
    /// case. It logs what it does, and keeps what it has if the new is wrong.
    pub fn new(reload: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self(Box::new(reload))
    }
}

/// Reads everything again on SIGHUP, and what has changed every few seconds. Without anything to
/// read SIGHUP is only logged: it does not end the gateway.
pub fn start(reloads: Vec<Reload>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            let look = async {
                match reloads.is_empty() {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(LOOK_EVERY).await,
                }
            };
            let always = tokio::select! {
                _ = hangup.recv() => true,
                () = look => false,
            };
            if always {
                tracing::info!("SIGHUP: reading files again");
            }
            reloads.iter().for_each(|Reload(reload)| reload(always));
        }
    });
    Ok(())
}
