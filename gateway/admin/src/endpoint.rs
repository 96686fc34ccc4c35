use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// What the endpoint asks the gateway. All are called on a request's own task and must not block.
pub struct Probes {
    /// Whether clients are accepted.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// The metrics in the text format of Prometheus (version 0.0.4).
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Which clients lost which messages, as a JSON object.
    pub drops: Box<dyn Fn() -> String + Send + Sync>,
}

/// Whether clients are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// They are, and something of what they may ask for is refused: why.
    Degraded(String),
    /// Why not: starting, draining.
    NotReady(String),
}

/// The admin endpoint: `/healthz`, `/readyz`, `/metrics`, `/api/v1/drops`; GET and HEAD only. It asks for
/// no password yet.
pub struct Endpoint {
    routes: Router,
}

/// For who asks for another one, as JSON.
const PATHS: &str = r#""/healthz","/readyz","/metrics","/api/v1/drops""#;

/// The content type that Prometheus asks for.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Endpoint {
    pub fn new(probes: Probes) -> Self {
        let routes = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/api/v1/drops", get(drops))
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found)
            .with_state(Arc::new(probes));
        Self { routes }
    }

    /// Serves a bound listener until `stop` is done and open requests are answered.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        tracing::debug!(address = ?listener.local_addr().ok(), "admin endpoint serves");
        axum::serve(listener, self.routes).with_graceful_shutdown(stop).await
    }
}

/// Answers as long as the process runs: what a supervisor restarts by.
async fn healthz() -> Response {
    text(StatusCode::OK, "ok\n".to_owned())
}

/// Answers whether clients are accepted: what a load balancer routes by.
async fn readyz(State(probes): State<Arc<Probes>>) -> Response {
    match (probes.readiness)() {
        Readiness::Ready => text(StatusCode::OK, "ready\n".to_owned()),
        Readiness::Degraded(why) => text(StatusCode::OK, format!("degraded: {why}\n")),
        Readiness::NotReady(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

async fn metrics(State(probes): State<Arc<Probes>>) -> Response {
    let headers = [(CONTENT_TYPE, METRICS_TYPE), (CACHE_CONTROL, "no-store")];
    (headers, (probes.metrics)()).into_response()
}

async fn drops(State(probes): State<Arc<Probes>>) -> Response {
    json(StatusCode::OK, (probes.drops)() + "\n")
}

async fn not_found(method: Method, uri: Uri) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return method_not_allowed().await;
    }
    let path = json_text(uri.path());
    let body = format!("{{\"error\":\"not found\",\"path\":{path},\"paths\":[{PATHS}]}}\n");
    json(StatusCode::NOT_FOUND, body)
}

async fn method_not_allowed() -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (ALLOW, "GET, HEAD")];
    let body = "{\"error\":\"method not allowed\",\"allow\":[\"GET\",\"HEAD\"]}\n";
    (StatusCode::METHOD_NOT_ALLOWED, headers, body).into_response()
}

fn json(status: StatusCode, body: String) -> Response {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

fn text(status: StatusCode, body: String) -> Response {
    let headers = [(CONTENT_TYPE, "text/plain; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    (status, headers, body).into_response()
}

/// A text as JSON (RFC 8259 section 7).
fn json_text(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character < ' ' => quoted.push_str(&format!("\\u{:04x}", character as u32)),
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    /// Serves on a free port while `requests` are made, and returns the whole answers. It is ready from
    /// the second question for it on, and degraded from the third.
    async fn answers(asked: usize, requests: &[&str]) -> Vec<String> {
        let asked = AtomicUsize::new(asked);
        let readiness = move || match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Readiness::NotReady("listeners are not bound".to_owned()),
            1 => Readiness::Ready,
            _ => Readiness::Degraded("store full".to_owned()),
        };
        let probes = Probes {
            readiness: Box::new(readiness),
            metrics: Box::new(|| "tidegate_connections 3\n".to_owned()),
            drops: Box::new(|| "{\"clients\":[]}".to_owned()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move {
            let _ = stopped.await;
        };
        let server = tokio::spawn(Endpoint::new(probes).serve(listener, stopped));
        let mut answers = Vec::new();
        for request in requests {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answers.push(answer);
        }
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
        answers
    }

    async fn answer(request: &str) -> String {
        answers(1, &[request]).await.remove(0)
    }

    #[tokio::test]
    async fn health_is_that_the_process_answers() {
        let answer = answer("GET /healthz").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"), "{answer}");
    }

    #[tokio::test]
    async fn readiness_is_the_gateways_own_word() {
        let answers = answers(0, &["GET /readyz"; 3]).await;
        assert!(answers[0].starts_with("HTTP/1.1 503 "), "{answers:?}");
        assert!(answers[0].ends_with("not ready: listeners are not bound\n"), "{answers:?}");
        assert!(answers[1].starts_with("HTTP/1.1 200 "), "{answers:?}");
        assert!(answers[2].starts_with("HTTP/1.1 200 "), "{answers:?}");
        assert!(answers[2].ends_with("degraded: store full\n"), "{answers:?}");
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let answer = answer("GET /metrics").await;
        assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ntidegate_connections 3\n"), "{answer}");
    }

    #[tokio::test]
    async fn drops_are_json() {
        let answer = answer("GET /api/v1/drops").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n{\"clients\":[]}\n"), "{answer}");
    }

    #[tokio::test]
    async fn other_paths_are_not_found_in_json() {
        let answer = answer("GET /x\"y").await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        let answer = self::answer("GET /nothing/here?x=1").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
        assert!(answer.contains("\"path\":\"/nothing/here\""), "{answer}");
        assert!(answer.contains("\"/metrics\",\"/api/v1/drops\"]}"), "{answer}");
    }

    #[tokio::test]
    async fn only_get_and_head_are_allowed() {
        let head = answer("HEAD /metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
        for request in ["POST /metrics", "DELETE /healthz", "PUT /nothing", "DELETE /api/v1/drops"] {
            let answer = answer(request).await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
            assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
        }
    }

    #[test]
    fn texts_are_quoted_for_json() {
        assert_eq!(json_text("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
    }
}
