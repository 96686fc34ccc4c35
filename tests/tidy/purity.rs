//! Pure crates have no I/O, no clock and no runtime.

use crate::harness::{Outcome, World};
use crate::tidy::source;

crate::cases!("tidy": pure_crates_are_pure, nothing_is_unsafe);

const PURE: [&str; 3] = ["protocols/", "gateway/model/", "gateway/bus/"];

const BANNED: [(&str, &str); 11] = [
    ("Instant::now", "time is an argument"),
    ("SystemTime::now", "time is an argument"),
    ("async fn", "the driver owns every wait"),
    (".await", "the driver owns every wait"),
    ("tokio", "the driver owns the runtime"),
    ("UdpSocket", "the driver owns every socket"),
    ("TcpStream", "the driver owns every socket"),
    ("TcpListener", "the driver owns every socket"),
    ("std::fs", "no I/O"),
    ("thread::sleep", "the driver owns every wait"),
    ("thread_rng", "randomness comes with a seed"),
];

fn pure_crates_are_pure(_: &mut World) -> Outcome {
    let mut findings = Vec::new();
    for source in source::all()?.iter().filter(|source| PURE.iter().any(|pure| source.path.starts_with(pure)))
    {
        let manifest = source.path.ends_with("Cargo.toml");
        if source.is_test() || !(manifest || source.path.ends_with(".rs")) {
            continue;
        }
        let code = if manifest { source.text.clone() } else { source.code() };
        for (number, line) in code.lines().enumerate() {
            // tokio-tungstenite's frames without its sockets would be named in full.
            if let Some((what, why)) = BANNED.iter().find(|(what, _)| line.contains(what)) {
                findings.push(format!("{}:{}: {what}: {why}", source.path, number + 1));
            }
        }
    }
    source::none("impure", findings)
}

fn nothing_is_unsafe(_: &mut World) -> Outcome {
    let mut findings = Vec::new();
    for folder in source::crates()? {
        let manifest =
            std::fs::read_to_string(crate::harness::place::root().join(&folder).join("Cargo.toml"))?;
        if !manifest.contains("[lints]\nworkspace = true") {
            findings.push(format!("{} does not take the workspace's lints", folder.display()));
        }
    }
    source::none("unsafe code is forbidden by the workspace's lints", findings)
}
