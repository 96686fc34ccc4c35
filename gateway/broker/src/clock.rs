use std::time::{Instant, SystemTime};

use gateway_bus::Moment;

/// Reads both clocks. The only place that does.
pub fn moment() -> Moment {
    let unix = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Moment { instant: Instant::now(), unix_millis: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
}
