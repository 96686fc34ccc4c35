use gateway_access::{Anonymous, Config as Access};
use gateway_config::Settings;

/// What is legal in the settings and yet hardly meant, one sentence each.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    let Ok(access) = settings.section::<Access>("access") else { return warnings };
    let open = settings.listeners().iter().filter(|listener| listener.enabled);
    let public: Vec<_> = open.clone().filter(|listener| !listener.bind.is_local()).collect();
    for listener in &public {
        let at = format!("listener.{} listens on {}", listener.name, listener.bind);
        if access.anonymous == Anonymous::Always {
            warnings.push(format!(
                "{at} and access.anonymous = \"always\": everybody who reaches it may read and publish anything"
            ));
        } else if access.user.is_empty() {
            warnings.push(format!(
                "{at}, but there is no [[access.user]]: every client that comes through it will be refused; add \
                 users, or set access.anonymous = \"always\""
            ));
        } else if listener.tls.is_none() {
            warnings.push(format!("{at} without encryption: passwords and messages can be read on the way"));
        }
    }
    if access.anonymous == Anonymous::Never && access.user.is_empty() {
        warnings.push(
            "access.anonymous = \"never\" and there is no [[access.user]]: nobody can connect".to_owned(),
        );
    }
    if settings.admin.enabled && !settings.admin.bind.ip().is_loopback() {
        warnings.push(format!("admin listens on {} and asks for no password", settings.admin.bind));
    }
    if open.count() == 0 {
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
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

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
        assert!(warnings_of(&["access.anonymous=never"])[0].contains("nobody can connect"));
        assert!(warnings_of(&["admin.bind=0.0.0.0:18083"])[0].contains("asks for no password"));
    }
}
