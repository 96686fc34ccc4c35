//! HTTP at its plainest: a GET, and a server that receives webhooks and can be told to refuse.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::world::eventually;
use crate::harness::{Outcome, Stop};

const PATIENCE: Duration = Duration::from_secs(10);

/// The status and the body of `http://127.0.0.1:port/path`.
pub fn get(port: u16, path: &str) -> Outcome<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| Stop::Failed(format!("not HTTP: {text:?}")))
}

/// One POST, as it arrived.
#[derive(Clone, Debug)]
pub struct Hook {
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What it was answered with.
    pub status: u16,
}

impl Hook {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Outcome<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// A web server that keeps what it gets. Stops when dropped.
pub struct HookServer {
    pub port: u16,
    shared: Arc<Shared>,
    stopping: Arc<AtomicBool>,
}

#[derive(Default)]
struct Shared {
    hooks: Mutex<Vec<Hook>>,
    refusals: Mutex<VecDeque<u16>>,
    connections: Mutex<Vec<TcpStream>>,
}

impl HookServer {
    pub fn start(port: u16) -> Outcome<Self> {
        Self::serve(port, Arc::default())
    }

    /// The next POSTs get these statuses; then all is well again.
    pub fn refuse(&self, statuses: impl IntoIterator<Item = u16>) {
        self.shared.refusals.lock().expect("not poisoned").extend(statuses);
    }

    pub fn hooks(&self) -> Vec<Hook> {
        self.shared.hooks.lock().expect("not poisoned").clone()
    }

    /// Waits until `count` POSTs were answered 200, and returns these.
    pub fn accepted(&self, count: usize, wait_secs: u64) -> Outcome<Vec<Hook>> {
        eventually(&format!("{count} accepted webhooks"), wait_secs, || {
            let accepted: Vec<Hook> = self.hooks().into_iter().filter(|hook| hook.status == 200).collect();
            Ok((accepted.len() >= count).then_some(accepted))
        })
    }

    /// Goes away: the port is closed and every connection is cut. What was received is kept.
    pub fn outage(self) -> Outage {
        let (port, shared) = (self.port, Arc::clone(&self.shared));
        drop(self);
        Outage { port, shared }
    }

    fn serve(port: u16, shared: Arc<Shared>) -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let server = Self { port, shared: Arc::clone(&shared), stopping: Arc::clone(&stopping) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopping.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&shared);
                if let Ok(stream) = stream.try_clone() {
                    shared.connections.lock().expect("not poisoned").push(stream);
                }
                // A connection that breaks is the client's to notice.
                std::thread::spawn(move || answer_all(stream, &shared));
            }
        });
        Ok(server)
    }
}

impl Drop for HookServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, which closes the port.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        for connection in self.shared.connections.lock().expect("not poisoned").drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// A server that is away.
pub struct Outage {
    port: u16,
    shared: Arc<Shared>,
}

impl Outage {
    pub fn end(self) -> Outcome<HookServer> {
        eventually("the port of the web server is free again", 10, || {
            match HookServer::serve(self.port, Arc::clone(&self.shared)) {
                Ok(server) => Ok(Some(server)),
                Err(_) => Ok(None),
            }
        })
    }
}

fn answer_all(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut hook = read_request(&mut reader)?;
        hook.status = shared.refusals.lock().expect("not poisoned").pop_front().unwrap_or(200);
        let status = hook.status;
        shared.hooks.lock().expect("not poisoned").push(hook);
        write!(writer, "HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

/// The next request of a connection; `None` at its end.
pub fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Hook> {
    let first = read_line(reader)?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut hook = Hook { path, headers, body: Vec::new(), status: 0 };
    let length = hook.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    hook.body = vec![0; length];
    reader.read_exact(&mut hook.body).ok()?;
    Some(hook)
}

fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let count = reader.read_line(&mut line).ok()?;
    (count > 0).then(|| line.trim_end().to_owned())
}
