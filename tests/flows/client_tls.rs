//! `tidegate pub` and `tidegate sub` over TLS, secure WebSocket and Unix sockets.

use std::process::Command;

use crate::harness::certificates::{Authority, self_signed};
use crate::harness::gateway::Settings;
use crate::harness::process::Finished;
use crate::harness::{Gateway, Outcome, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("client_tls":
    messages_pass_over_tls_and_secure_websocket,
    a_server_that_cannot_be_trusted_is_refused,
    a_self_signed_certificate_is_trusted_if_it_is_named,
    a_client_certificate_is_shown_where_it_is_asked_for,
    messages_pass_over_a_unix_socket,
);

fn messages_pass_over_tls_and_secure_websocket(world: &mut World) -> Outcome {
    let authority = Authority::new(world.dir.join("pki"), "our authority")?;
    authority.issue("server")?;
    let (tls, wss) = (place::free_port(), place::free_port());
    let file = listener("mqtts", "mqtt", tls, "server", "") + &listener("wss", "mqtt-ws", wss, "server", "");
    let gateway = Gateway::start_with(world, Settings::file(file))?;
    let (trust, folder, port) = (authority.path("ca.pem"), authority.path(""), tls.to_string());
    let (url, web) = (format!("mqtts://localhost:{tls}/t/url"), format!("wss://localhost:{wss}/mqtt"));
    let direct = ["-h", "localhost", "-p", &port];
    for (topic, arguments) in [
        ("t/13", [&direct[..], &["--cafile", &trust, "--tls-version", "tlsv1.3"]].concat()),
        ("t/12", [&direct[..], &["--cafile", &trust, "--tls-version", "tlsv1.2", "-V", "311"]].concat()),
        ("t/dir", [&direct[..], &["--capath", &folder, "--tls-alpn", "mqtt"]].concat()),
        ("t/web", vec!["-L", &web, "--cafile", &trust]),
    ] {
        let message = [&["pub", "-q", "1", "-r", "-t", topic, "-m", topic], &arguments[..]].concat();
        ensure_eq!(run(world, &message)?.code, Some(0), "how pub ended with {arguments:?}");
        let subscription = [&["sub", "-C", "1", "-W", "10", "-t", topic], &arguments[..]].concat();
        ensure_eq!(run(world, &subscription)?.text(), topic, "what sub printed with {arguments:?}");
    }
    let message = ["pub", "-q", "1", "-r", "-L", &url, "-m", "by URL", "--cafile", &trust];
    ensure_eq!(run(world, &message)?.code, Some(0), "how pub ended with a URL");
    gateway.stop()
}

fn a_server_that_cannot_be_trusted_is_refused(world: &mut World) -> Outcome {
    let authority = Authority::new(world.dir.join("pki"), "our authority")?;
    let other = Authority::new(world.dir.join("other"), "another authority")?;
    authority.issue("server")?;
    let tls = place::free_port();
    let gateway = Gateway::start_with(world, Settings::file(listener("mqtts", "mqtt", tls, "server", "")))?;
    let (right, wrong, tls) = (authority.path("ca.pem"), other.path("ca.pem"), tls.to_string());
    let plain = gateway.ports.mqtt.to_string();
    for (port, arguments, hint) in [
        (&tls, vec!["--cafile", &wrong], "--cafile"),
        (&tls, vec!["--tls"], "--cafile"),
        (&tls, vec!["--cafile", &right, "--servername", "elsewhere"], "--servername"),
        (&tls, vec!["--cafile", &wrong, "--insecure"], "--cafile"),
        (&plain, vec!["--cafile", &right], "port for TLS"),
        (&tls, vec![], "--tls"),
        (&tls, vec!["--cafile", "/nowhere.pem"], "/nowhere.pem"),
    ] {
        let message = [&["pub", "-h", "localhost", "-p", port, "a", "b"], &arguments[..]].concat();
        let finished = run(world, &message)?;
        ensure!(finished.code.is_some_and(|code| code > 0), "it was trusted with {arguments:?}");
        ensure!(finished.text().contains(hint), "no word of {hint}: {}", finished.text());
    }
    let message = ["pub", "-h", "localhost", "-p", &tls, "--cafile", &right, "-q", "1", "a", "b"];
    for arguments in [&["--insecure", "--servername", "elsewhere"][..], &["--servername", "127.0.0.1"]] {
        let finished = run(world, &[&message[..], arguments].concat())?;
        ensure_eq!(finished.code, Some(0), "how it ended with {arguments:?}");
    }
    gateway.stop()
}

fn a_self_signed_certificate_is_trusted_if_it_is_named(world: &mut World) -> Outcome {
    // As `openssl req -x509` makes it, which is how people begin.
    let (pki, tls) = (world.dir.join("pki"), place::free_port());
    self_signed(&pki, "server")?;
    self_signed(&pki, "stranger")?;
    let gateway = Gateway::start_with(world, Settings::file(listener("mqtts", "mqtt", tls, "server", "")))?;
    let tls = tls.to_string();
    for (file, name, is_trusted) in [
        ("server.pem", "localhost", true),
        ("server.pem", "elsewhere", false),
        ("stranger.pem", "localhost", false),
    ] {
        let file = pki.join(file).display().to_string();
        let message =
            ["pub", "-h", "localhost", "-p", &tls, "--cafile", &file, "--servername", name, "a", "b"];
        ensure_eq!(run(world, &message)?.code == Some(0), is_trusted, "trust in {name} with {file}");
    }
    gateway.stop()
}

fn a_client_certificate_is_shown_where_it_is_asked_for(world: &mut World) -> Outcome {
    let authority = Authority::new(world.dir.join("pki"), "our authority")?;
    authority.issue("server")?;
    authority.issue("press-17")?;
    let tls = place::free_port();
    let more = "client_auth = \"required\"\nclient_ca_file = \"pki/ca.pem\"\n";
    let file = listener("mqtts", "mqtt", tls, "server", more);
    let gateway = Gateway::start_with(world, Settings::file(file))?;
    let (trust, tls) = (authority.path("ca.pem"), tls.to_string());
    let (cert, key) = (authority.path("press-17.pem"), authority.path("press-17.key"));
    let message = ["pub", "-h", "localhost", "-p", &tls, "--cafile", &trust, "-q", "1", "a", "b"];
    let finished = run(world, &[&message[..], &["--cert", &cert, "--key", &key]].concat())?;
    ensure_eq!(finished.code, Some(0), "how pub ended with its certificate");
    for version in ["tlsv1.2", "tlsv1.3"] {
        let finished = run(world, &[&message[..], &["--tls-version", version]].concat())?;
        ensure!(finished.code.is_some_and(|code| code > 0), "it got in without a certificate");
        ensure!(finished.text().contains("--cert"), "no word of --cert: {}", finished.text());
    }
    gateway.stop()
}

fn messages_pass_over_a_unix_socket(world: &mut World) -> Outcome {
    // The path of a socket is short (unix(7)), that of a case may not be.
    let socket = std::env::temp_dir().join(format!("tidegate-tests-{}.sock", std::process::id()));
    let socket = socket.display().to_string();
    let file = format!("[listener.local]\nprotocol = \"mqtt\"\nbind = \"unix:{socket}\"\n");
    let gateway = Gateway::start_with(world, Settings::file(file))?;
    for version in ["5", "311"] {
        let local = ["--unix", &socket, "-V", version, "-q", "1", "-t", version];
        ensure_eq!(run(world, &[&["pub", "-r", "-m", "hi"], &local[..]].concat())?.code, Some(0), "pub");
        let heard = run(world, &[&["sub", "-C", "1", "-W", "10"], &local[..]].concat())?;
        ensure_eq!(heard.text(), "hi", "what sub printed");
    }
    gateway.stop()
}

/// The certificate lies in the folder `pki` beside the settings.
fn listener(name: &str, protocol: &str, port: u16, certificate: &str, more: &str) -> String {
    format!(
        "[listener.{name}]\nprotocol = \"{protocol}\"\nbind = \"127.0.0.1:{port}\"\n\
         [listener.{name}.tls]\ncert_file = \"pki/{certificate}.pem\"\nkey_file = \"pki/{certificate}.key\"\n{more}"
    )
}

fn run(world: &mut World, arguments: &[&str]) -> Outcome<Finished> {
    let mut command = Command::new(place::tidegate()?);
    world.run(&format!("tidegate {}", arguments.first().unwrap_or(&"")), command.args(arguments), 30)
}
