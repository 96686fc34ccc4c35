//! SCRAM-SHA-256 over MQTT 5: packet by packet, as no foreign tool at hand has enhanced authentication,
//! and with the built-in client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::harness::gateway::Settings;
use crate::harness::{Gateway, Outcome, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("scram":
    a_client_proves_its_password_and_sees_the_server_s_proof,
    a_wrong_password_and_an_unknown_method_are_refused,
    a_client_proves_itself_again_in_its_session,
    the_built_in_client_logs_in_with_an_entry_of_tidegate_passwd,
);

const USER: &str =
    "[access]\nanonymous = \"never\"\n[[access.user]]\nname = \"press\"\npassword = \"word\"\n";
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const AUTH: u8 = 0xF0;
const DISCONNECT: u8 = 0xE0;
const CONTINUE: u8 = 0x18;
const RE_AUTHENTICATE: u8 = 0x19;

fn a_client_proves_its_password_and_sees_the_server_s_proof(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, Settings::file(USER))?;
    let (mut client, mut login) = Client::connect(&gateway, "SCRAM-SHA-256", "press", "word")?;
    let challenge = client.expect(AUTH, CONTINUE)?;
    let answer = login.answer(&challenge)?;
    client.send(AUTH, &authentication(CONTINUE, "SCRAM-SHA-256", &answer))?;
    ensure_eq!(client.expect(CONNACK, 0)?, login.server_final, "the server's signature");
    gateway.stop()
}

fn a_wrong_password_and_an_unknown_method_are_refused(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, Settings::file(USER))?;
    for (name, password) in [("press", "other"), ("nobody", "word")] {
        let (mut client, mut login) = Client::connect(&gateway, "SCRAM-SHA-256", name, password)?;
        let challenge = client.expect(AUTH, CONTINUE)?;
        let answer = login.answer(&challenge)?;
        client.send(AUTH, &authentication(CONTINUE, "SCRAM-SHA-256", &answer))?;
        client.expect(CONNACK, 0x86)?;
    }
    let (mut client, _) = Client::connect(&gateway, "SCRAM-SHA-1", "press", "word")?;
    client.expect(CONNACK, 0x8C)?;
    gateway.stop()
}

fn a_client_proves_itself_again_in_its_session(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, Settings::file(USER))?;
    for (password, gets_in) in [("word", true), ("other", false)] {
        let (mut client, mut login) = Client::connect(&gateway, "SCRAM-SHA-256", "press", "word")?;
        let challenge = client.expect(AUTH, CONTINUE)?;
        let answer = login.answer(&challenge)?;
        client.send(AUTH, &authentication(CONTINUE, "SCRAM-SHA-256", &answer))?;
        client.expect(CONNACK, 0)?;

        let mut again = Login::new("press", password);
        client.send(AUTH, &authentication(RE_AUTHENTICATE, "SCRAM-SHA-256", &again.first()))?;
        let challenge = client.expect(AUTH, CONTINUE)?;
        let answer = again.answer(&challenge)?;
        client.send(AUTH, &authentication(CONTINUE, "SCRAM-SHA-256", &answer))?;
        match gets_in {
            true => ensure_eq!(client.expect(AUTH, 0)?, again.server_final, "the server's signature"),
            false => {
                // A DISCONNECT has no reason for a bad password (MQTT 5.0 section 3.14.2.1).
                client.expect(DISCONNECT, 0x87)?;
            }
        }
    }
    gateway.stop()
}

fn the_built_in_client_logs_in_with_an_entry_of_tidegate_passwd(world: &mut World) -> Outcome {
    let file = world.write("passwords", "")?;
    for (name, form) in [("scram", "scram-sha-256"), ("argon", "argon2id")] {
        let mut passwd = Command::new(place::tidegate()?);
        passwd.arg("passwd").arg(&file).args([name, "-b", "word", "--hash", form]);
        world.succeed("tidegate passwd", &mut passwd, 20)?;
    }
    let gateway = Gateway::start_with(world, Settings::file("[access]\npassword_file = \"passwords\"\n"))?;
    for (name, password, gets_in) in
        [("scram", "word", true), ("scram", "other", false), ("argon", "word", false)]
    {
        let mut publish = Command::new(place::tidegate()?);
        publish.args(["pub", "-p", &gateway.ports.mqtt.to_string(), "--auth-method", "SCRAM-SHA-256"]);
        publish.args(["-u", name, "-P", password, "-q", "1", "-t", "a", "-m", "b"]);
        let finished = world.run("tidegate pub", &mut publish, 20)?;
        ensure_eq!(finished.code == Some(0), gets_in, "{name} with {password:?}");
    }
    // Why a right password does not help.
    gateway.process.line("tidegate passwd --hash scram-sha-256", 5)?;
    gateway.stop()
}

/// A TCP connection on which whole packets go to and fro.
struct Client(TcpStream);

impl Client {
    fn connect(gateway: &Gateway, method: &str, name: &str, password: &str) -> Outcome<(Self, Login)> {
        let stream = TcpStream::connect(("127.0.0.1", gateway.ports.mqtt))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let (mut client, login) = (Self(stream), Login::new(name, password));
        // MQTT 5, clean start, keep-alive 60 s.
        let mut body = b"\x00\x04MQTT\x05\x02\x00\x3c".to_vec();
        body.extend(properties(method, &login.first()));
        body.extend(text("scram-client"));
        client.send(CONNECT, &body)?;
        Ok((client, login))
    }

    fn send(&mut self, first: u8, body: &[u8]) -> Outcome {
        let mut packet = vec![first];
        packet.extend(length(body.len()));
        packet.extend(body);
        Ok(self.0.write_all(&packet)?)
    }

    /// The authentication data of the next packet, which has this type and reason.
    fn expect(&mut self, first: u8, reason: u8) -> Outcome<String> {
        let mut byte = [0];
        self.0.read_exact(&mut byte)?;
        let found = byte[0];
        let mut body = vec![0; self.length()?];
        self.0.read_exact(&mut body)?;
        // A CONNACK has its flags before its reason.
        let at = usize::from(found == CONNACK);
        let code = body.get(at).copied().unwrap_or_default();
        ensure_eq!((found, code), (first, reason), "type and reason of the packet");
        let properties = body.get(at + 1..).unwrap_or_default();
        // Identifier 22, then a text with its length.
        let data = properties.windows(3).position(|window| window[0] == 22 && window[1] == 0).map(|at| {
            let length = usize::from(properties[at + 2]);
            String::from_utf8_lossy(&properties[at + 3..at + 3 + length]).into_owned()
        });
        Ok(data.unwrap_or_default())
    }

    fn length(&mut self) -> Outcome<usize> {
        let (mut length, mut byte) = (0, [0]);
        for shift in [0, 7, 14, 21] {
            self.0.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7F) << shift;
            if byte[0] < 0x80 {
                return Ok(length);
            }
        }
        Err(Stop::Failed("a length of five bytes".into()))
    }
}

/// The client's side of RFC 5802 section 3.
struct Login {
    bare: String,
    password: String,
    server_final: String,
}

impl Login {
    fn new(name: &str, password: &str) -> Self {
        let bare = format!("n={name},r=rOprNGfwEbeRWgbNEkqO");
        Self { bare, password: password.to_owned(), server_final: String::new() }
    }

    fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    fn answer(&mut self, challenge: &str) -> Outcome<String> {
        let fields: Vec<_> = challenge.split(',').map(|field| field.get(2..).unwrap_or_default()).collect();
        let [nonce, salt, iterations] = fields[..] else {
            return Err(Stop::Failed(format!("not a challenge: {challenge}")));
        };
        ensure!(nonce.starts_with("rOprNGfwEbeRWgbNEkqO"), "the nonce begins with ours: {nonce}");
        let salt = BASE64_STANDARD.decode(salt).map_err(|error| Stop::Failed(error.to_string()))?;
        let password = self.password.as_bytes();
        // Hi() is PBKDF2 with one block.
        let mut round = hmac(password, &[&salt[..], &[0, 0, 0, 1]].concat());
        let mut salted = round;
        for _ in 1..iterations.parse::<u32>()? {
            round = hmac(password, &round);
            salted.iter_mut().zip(round).for_each(|(salted, round)| *salted ^= round);
        }
        let without_proof = format!("c=biws,r={nonce}");
        let message = format!("{},{challenge},{without_proof}", self.bare);
        let key = hmac(&salted, b"Client Key");
        let signature = hmac(&Sha256::digest(key), message.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
        let verifier = hmac(&hmac(&salted, b"Server Key"), message.as_bytes());
        self.server_final = format!("v={}", BASE64_STANDARD.encode(verifier));
        Ok(format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)))
    }
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.chain_update(text).finalize().into_bytes().into()
}

/// The body of an AUTH packet.
fn authentication(reason: u8, method: &str, data: &str) -> Vec<u8> {
    [vec![reason], properties(method, data)].concat()
}

/// Authentication Method (21) and Authentication Data (22), with their length.
fn properties(method: &str, data: &str) -> Vec<u8> {
    let properties = [vec![21], text(method), vec![22], text(data)].concat();
    [length(properties.len()), properties].concat()
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn length(length: usize) -> Vec<u8> {
    match length {
        0..128 => vec![length as u8],
        _ => vec![(length % 128) as u8 | 0x80, (length / 128) as u8],
    }
}
