//! Where things are: the source tree, the binary under test, the foreign programs.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::harness::{Outcome, Stop};

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// The gateway's binary: `TIDEGATE_BIN`, else what `cargo build` left beside this test binary.
pub fn tidegate() -> Outcome<PathBuf> {
    if let Some(path) = std::env::var_os("TIDEGATE_BIN") {
        return Ok(path.into());
    }
    let path = std::env::current_exe()?
        .ancestors()
        .nth(2)
        .ok_or_else(|| Stop::Failed("the test binary is not in a target directory".into()))?
        .join("tidegate");
    if path.is_file() {
        return Ok(path);
    }
    Err(Stop::Failed(format!(
        "no gateway at {}: run `cargo build` first, or set TIDEGATE_BIN",
        path.display()
    )))
}

/// What `tests/run` installed for the flows, and where they write: `TIDEGATE_TESTS_DIR`, else `target/tests`.
pub fn cache() -> PathBuf {
    std::env::var_os("TIDEGATE_TESTS_DIR").map_or_else(|| root().join("target/tests"), PathBuf::from)
}

/// A script or file of `tests/interop`.
pub fn interop(name: &str) -> String {
    root().join("tests/interop").join(name).display().to_string()
}

/// The path of a program, or a skip that says how to get it.
pub fn program(name: &str) -> Outcome<PathBuf> {
    let candidates = match name {
        "python" => vec![cache().join("venv/bin/python")],
        // Debian puts brokers where not every user looks.
        _ => std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .chain(["/usr/sbin".into()])
            .map(|d| d.join(name))
            .collect(),
    };
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| Stop::Skipped(format!("{name} is not installed; `tests/run` installs it")))
}

/// A folder of the cache with foreign packages, or a skip.
pub fn packages(name: &str) -> Outcome<PathBuf> {
    let path = cache().join(name);
    if path.is_dir() {
        return Ok(path);
    }
    Err(Stop::Skipped(format!("{} is missing; `tests/run` installs it", path.display())))
}

/// A port of 127.0.0.1 that is free for TCP and UDP, below the range that the kernel gives to clients.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + (std::process::id() % 60) as u16 * 200;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 400;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
