use std::time::Duration;

use super::connection::Connection;
use super::error::ClientError;
use super::options::ConnectOptions;

/// Even a delay of nothing becomes one.
const DELAY_MIN: Duration = Duration::from_millis(10);

const DELAY_MAX: Duration = Duration::from_secs(30);

/// Connects anew after `error`, however long it takes; an error that waiting does not mend ends it.
pub async fn reopen(options: &ConnectOptions, error: ClientError) -> Result<Connection, ClientError> {
    let mut error = error;
    let mut delay = options.retry_delay;
    loop {
        if !error.is_transient() {
            return Err(error);
        }
        options.report().problem(format!("{error}; trying again in {} s", delay.as_secs_f64()));
        tokio::time::sleep(delay).await;
        delay = (delay * 2).clamp(DELAY_MIN, DELAY_MAX);
        match Connection::open(options).await {
            Ok(connection) => {
                options.report().problem("connected again");
                return Ok(connection);
            }
            Err(failed) => error = failed,
        }
    }
}
