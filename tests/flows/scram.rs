//! SCRAM-SHA-256 over MQTT 5: packet by packet, as no foreign tool at hand has enhanced authentication,
//! and with the built-in client.

use std::process::Command;

use crate::ensure_eq;
use crate::harness::gateway::Settings;
use crate::harness::raw::{RawClient, text, variable};
use crate::harness::scram::{METHOD, Scram};
use crate::harness::{Gateway, Outcome, World, place};

crate::cases!("scram":
    a_client_proves_its_password_and_sees_the_server_s_proof,
    a_wrong_password_and_an_unknown_method_are_refused,
    a_client_proves_itself_again_in_its_session,
    the_built_in_client_logs_in_with_an_entry_of_tidegate_passwd,
);

const USER: &str =
    "[access]\nanonymous = \"never\"\n[[access.user]]\nname = \"press\"\npassword = \"word\"\n";
const CONNACK: u8 = 0x20;
const AUTH: u8 = 0xF0;
const DISCONNECT: u8 = 0xE0;
const CONTINUE: u8 = 0x18;
const RE_AUTHENTICATE: u8 = 0x19;

fn a_client_proves_its_password_and_sees_the_server_s_proof(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, Settings::file(USER))?;
    let (mut client, mut login) = connect(&gateway, METHOD, "press", "word")?;
    let challenge = expect(&mut client, AUTH, CONTINUE)?;
    let answer = login.last(&challenge);
    client.send(AUTH, &authentication(CONTINUE, METHOD, &answer))?;
    ensure_eq!(expect(&mut client, CONNACK, 0)?, login.signature, "the server's signature");
    gateway.stop()
}

fn a_wrong_password_and_an_unknown_method_are_refused(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, Settings::file(USER))?;
    for (name, password) in [("press", "other"), ("nobody", "word")] {
        let (mut client, mut login) = connect(&gateway, METHOD, name, password)?;
        let challenge = expect(&mut client, AUTH, CONTINUE)?;
        let answer = login.last(&challenge);
        client.send(AUTH, &authentication(CONTINUE, METHOD, &answer))?;
        expect(&mut client, CONNACK, 0x86)?;
    }
    let (mut client, _) = connect(&gateway, "SCRAM-SHA-1", "press", "word")?;
    expect(&mut client, CONNACK, 0x8C)?;
    gateway.stop()
}

fn a_client_proves_itself_again_in_its_session(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, Settings::file(USER))?;
    for (password, gets_in) in [("word", true), ("other", false)] {
        let (mut client, mut login) = connect(&gateway, METHOD, "press", "word")?;
        let challenge = expect(&mut client, AUTH, CONTINUE)?;
        let answer = login.last(&challenge);
        client.send(AUTH, &authentication(CONTINUE, METHOD, &answer))?;
        expect(&mut client, CONNACK, 0)?;

        let mut again = Scram::new("press", password);
        client.send(AUTH, &authentication(RE_AUTHENTICATE, METHOD, &again.first()))?;
        let challenge = expect(&mut client, AUTH, CONTINUE)?;
        let answer = again.last(&challenge);
        client.send(AUTH, &authentication(CONTINUE, METHOD, &answer))?;
        match gets_in {
            true => ensure_eq!(expect(&mut client, AUTH, 0)?, again.signature, "the server's signature"),
            false => {
                // A DISCONNECT has no reason for a bad password (MQTT 5.0 section 3.14.2.1).
                expect(&mut client, DISCONNECT, 0x87)?;
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
        publish.args(["pub", "-p", &gateway.ports.mqtt.to_string(), "--auth-method", METHOD]);
        publish.args(["-u", name, "-P", password, "-q", "1", "-t", "a", "-m", "b"]);
        let finished = world.run("tidegate pub", &mut publish, 20)?;
        ensure_eq!(finished.code == Some(0), gets_in, "{name} with {password:?}");
    }
    // Why a right password does not help.
    gateway.process.line("tidegate passwd --hash scram-sha-256", 5)?;
    gateway.stop()
}

fn connect(gateway: &Gateway, method: &str, name: &str, password: &str) -> Outcome<(RawClient, Scram)> {
    let login = Scram::new(name, password);
    // MQTT 5, clean start, keep-alive 60 s.
    let head = &b"\x00\x04MQTT\x05\x02\x00\x3c"[..];
    let body = [head, &properties(method, &login.first()), &text("scram-client")].concat();
    Ok((RawClient::begin(gateway.ports.mqtt, &body)?, login))
}

/// The authentication data of the next packet, which has this type and reason.
fn expect(client: &mut RawClient, first: u8, reason: u8) -> Outcome<String> {
    let (found, body) = client.packet()?;
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

/// The body of an AUTH packet.
fn authentication(reason: u8, method: &str, data: &str) -> Vec<u8> {
    [vec![reason], properties(method, data)].concat()
}

/// Authentication Method (21) and Authentication Data (22), with their length.
fn properties(method: &str, data: &str) -> Vec<u8> {
    let properties = [vec![21], text(method), vec![22], text(data)].concat();
    [variable(properties.len()), properties].concat()
}
