use gateway_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// Writes the log to standard error. A second call changes nothing.
pub fn start(log: &Log) {
    // librdkafka's own words come through our bridge with the cause already.
    let filter = EnvFilter::new(format!("{},librdkafka=warn,rdkafka=warn", log.level.as_str()));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let _ = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}
