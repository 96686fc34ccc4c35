use gateway_access::{Anonymous, Config as Access};
use gateway_config::{CertificateIdentity, Durability, Listener, ProxyProtocol, Settings};

use crate::catalog;

/// What is legal in the settings and yet hardly meant, one sentence each.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let Ok(access) = settings.section::<Access>("access") else { return Vec::new() };
    let open: Vec<_> = settings.listeners().iter().filter(|listener| listener.enabled).collect();
    let mut warnings = of_public_listeners(&access, &open);
    warnings.extend(of_users(&access, &open));
    if settings.store.durability == Durability::Memory {
        warnings.push(
            "store.durability = \"memory\": a restart loses all sessions, what waits for them, and all retained \
             messages, also what was acknowledged"
                .to_owned(),
        );
    }
    if settings.admin.enabled && !settings.admin.bind.ip().is_loopback() {
        warnings.push(format!("admin listens on {} and asks for no password", settings.admin.bind));
    }
    if open.is_empty() {
        warnings.push("no listener is enabled: no client can connect".to_owned());
    }
    if !settings.session.queue_qos0 && settings.session.queue_bytes_max < settings.retained.payload_bytes_max
    {
        warnings.push(
            "session.queue_bytes_max is smaller than retained.payload_bytes_max: a retained message of that size \
             can never be delivered"
                .to_owned(),
        );
    }
    warnings.extend(of_segments(settings, &open));
    warnings
}

/// A message larger than a file of the log gets a larger file of its own, for which a disk that is nearly full may
/// never have the space.
fn of_segments(settings: &Settings, open: &[&Listener]) -> Option<String> {
    let store = &settings.store;
    if store.durability == Durability::Memory {
        return None;
    }
    let (segment, bytes) = match store.bytes_max / 4 {
        quarter if store.bytes_max > 0 && quarter < store.segment_bytes.into() => {
            ("a quarter of store.bytes_max", quarter)
        }
        _ => ("store.segment_bytes", store.segment_bytes.into()),
    };
    let packets = open.iter().filter_map(|listener| catalog::largest_packet(settings, &listener.protocol));
    let (key, packet) = packets.max_by_key(|(_, packet)| *packet)?;
    (bytes < packet).then(|| {
        format!(
            "{segment} ({bytes} bytes) is smaller than {key} ({packet}): on a disk that is nearly full a message of \
             that size may never be stored"
        )
    })
}

/// What may come in from other machines.
fn of_public_listeners(access: &Access, open: &[&Listener]) -> Vec<String> {
    let mut warnings = Vec::new();
    let public = || open.iter().filter(|listener| !listener.bind.is_local());
    for listener in public() {
        let at = format!("listener.{} listens on {}", listener.name, listener.bind);
        let (anonymous, setting) = match listener.anonymous {
            Some(anonymous) => (anonymous, format!("listener.{}.anonymous", listener.name)),
            None => (access.anonymous, "access.anonymous".to_owned()),
        };
        if anonymous == Anonymous::Always {
            let may = match access.has_acl() {
                true => "do what access.acl_file allows to anybody",
                false => "read and publish anything",
            };
            warnings.push(format!("{at} and {setting} = \"always\": everybody who reaches it may {may}"));
        } else if !knows_anybody(access) && !has_certified(listener) {
            warnings.push(format!(
                "{at}, but there is no [[access.user]]: every client that comes through it will be refused; add \
                 users, or set {setting} = \"always\""
            ));
        } else if listener.tls.is_none() {
            warnings.push(format!("{at} without encryption: passwords and messages can be read on the way"));
        }
    }
    let claims = |listener: &&&Listener| {
        listener.proxy_protocol == ProxyProtocol::Required && listener.trusted_proxies.is_empty()
    };
    for listener in public().filter(claims) {
        warnings.push(format!(
            "listener.{} has proxy_protocol = \"required\" and no trusted_proxies: whoever reaches it may claim any \
             address",
            listener.name
        ));
    }
    warnings
}

/// Who may come in, and do what.
fn of_users(access: &Access, open: &[&Listener]) -> Vec<String> {
    let mut warnings = Vec::new();
    let is_closed = |listener: &&Listener| {
        listener.anonymous.unwrap_or(access.anonymous) == Anonymous::Never && !has_certified(listener)
    };
    if !knows_anybody(access) && open.iter().all(is_closed) && !open.is_empty() {
        warnings.push(
            "access.anonymous = \"never\" and there is no [[access.user]]: nobody can connect".to_owned(),
        );
    }
    if (access.has_users() || open.iter().any(|listener| has_certified(listener))) && !access.has_acl() {
        warnings.push(
            "there are users and no rules for them: each may read and publish every topic that does not begin with \
             $; write rules into access.acl_file"
                .to_owned(),
        );
    }
    warnings
}

fn knows_anybody(access: &Access) -> bool {
    access.has_users() || !access.client.is_empty()
}

/// Whether clients have their names from certificates there.
fn has_certified(listener: &Listener) -> bool {
    listener.tls.as_ref().is_some_and(|tls| tls.identity != CertificateIdentity::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings_of(assignments: &[&str]) -> Vec<String> {
        let layers = gateway_config::Layers::new();
        let layers = assignments.iter().fold(layers, |layers, assignment| layers.set(assignment));
        warnings(&layers.load(&catalog::known()).unwrap_or_else(|problems| panic!("{problems}")))
    }

    #[test]
    fn the_defaults_are_beyond_reproach() {
        assert_eq!(warnings_of(&[]), Vec::<String>::new());
    }

    #[test]
    fn an_open_listener_is_warned_about_by_who_may_come_in() {
        let open = "listener.mqtt.bind=0.0.0.0:1883";
        let user = "access.user=[{name=\"a\",password=\"b\"}]";
        assert!(warnings_of(&[open])[0].contains("every client that comes through it will be refused"));
        assert!(warnings_of(&[open, "access.anonymous=always"])[0].contains("everybody who reaches it"));
        assert!(warnings_of(&[open, user])[0].contains("without encryption"));
        assert!(warnings_of(&[open, user])[1].contains("no rules for them"));
        let rules = "access.acl_file=rules.acl";
        assert_eq!(warnings_of(&[open, user, rules]).len(), 1);
        assert!(warnings_of(&[open, "access.anonymous=always", rules])[0].contains("allows to anybody"));
        assert!(warnings_of(&[open, "access.password_file=p"])[0].contains("without encryption"));
        let own = "listener.mqtt.anonymous=always";
        assert!(warnings_of(&[open, user, own])[0].contains("listener.mqtt.anonymous = \"always\""));
        assert!(warnings_of(&["access.anonymous=never"])[0].contains("nobody can connect"));
        assert_eq!(warnings_of(&["access.anonymous=never", own]), Vec::<String>::new());
        assert!(warnings_of(&["admin.bind=0.0.0.0:18083"])[0].contains("asks for no password"));
        let proxied = "listener.mqtt.proxy_protocol=required";
        assert!(warnings_of(&[open, user, proxied]).concat().contains("may claim any address"));
        let trusted = "listener.mqtt.trusted_proxies=[\"10.0.0.0/8\"]";
        assert!(!warnings_of(&[open, user, proxied, trusted]).concat().contains("may claim any address"));
        assert!(warnings_of(&["store.durability=memory"])[0].contains("a restart loses all"));
        assert!(warnings_of(&["store.bytes_max=4194300"])[0].starts_with(
            "a quarter of store.bytes_max (1048575 bytes) is smaller than mqtt.packet_bytes_max (1048576): "
        ));
        let (small, packets) = ("store.segment_bytes=65536", "mqtt.packet_bytes_max=65536");
        assert!(warnings_of(&[small, packets])[0].starts_with(
            "store.segment_bytes (65536 bytes) is smaller than coap.body_bytes_max (1048576): "
        ));
        let bodies = "coap.body_bytes_max=65536";
        assert_eq!(warnings_of(&[small, packets, bodies]), Vec::<String>::new());
        assert_eq!(warnings_of(&[small, "store.durability=memory"]).len(), 1);
        let certified = "listener.mqtt.tls={cert_file=\"a\",key_file=\"b\",client_ca_file=\"c\",\
                         client_auth=\"required\",identity=\"common_name\"}";
        let warnings = warnings_of(&[open, "access.anonymous=never", certified]);
        assert!(warnings.len() == 1 && warnings[0].contains("no rules for them"), "{warnings:?}");
        let tls = "listener.mqtt.tls={cert_file=\"a\",key_file=\"b\"}";
        assert!(!warnings_of(&[open, user, tls]).concat().contains("without encryption"));
    }
}
