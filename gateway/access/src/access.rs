use std::collections::HashMap;

use gateway_config::Secret;
use gateway_model::{Credentials, Peer, Reason, Refusal, Topic, TopicFilter};

use crate::{Allowed, Anonymous, Config, Login, Verdict};

/// Decides who may connect, and what they may publish and read.
#[derive(Debug)]
pub struct Access {
    anonymous: Anonymous,
    passwords: HashMap<Box<str>, Secret>,
}

/// Who a session belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `None` for an anonymous client.
    pub username: Option<Box<str>>,
}

impl Access {
    pub fn new(config: Config) -> Self {
        let passwords =
            config.user.into_iter().map(|user| (user.name.into_boxed_str(), user.password)).collect();
        Self { anonymous: config.anonymous, passwords }
    }

    /// Whether a client may open a session, and as whom.
    ///
    /// A user name must be known and its password right, wherever the client is: a name that is
    /// offered is never ignored. Without one, the `anonymous` setting decides. A client identifier
    /// that begins with `$` is the gateway's.
    pub fn authenticate(&self, login: Login<'_>) -> Verdict {
        match self.identify(login) {
            Ok(identity) => Verdict::Allowed(Allowed { identity, data: None }),
            Err(refusal) => Verdict::Refused(refusal),
        }
    }

    /// Whether the session may publish on a topic. Topics that begin with `$` are the gateway's own.
    pub fn may_publish(&self, _: &Identity, topic: &Topic) -> bool {
        !topic.is_reserved()
    }

    /// Whether the session may read what a filter matches: everything, for now.
    pub fn may_subscribe(&self, _: &Identity, _: &TopicFilter) -> bool {
        true
    }

    fn identify(&self, login: Login<'_>) -> Result<Identity, Refusal> {
        if login.client_id.is_some_and(|id| id.as_str().starts_with('$')) {
            return Err(refusal(
                Reason::ClientIdentifierNotValid,
                "client identifiers that begin with $ belong to the gateway",
            ));
        }
        if login.authentication.is_some() {
            return Err(refusal(Reason::BadAuthenticationMethod, "no such authentication method"));
        }
        match &login.credentials.username {
            Some(username) => self.check_password(username, login.credentials),
            None if self.allows_anonymous(login.peer, login.listener_is_loopback) => Ok(Identity::default()),
            None => Err(self.anonymous_refusal()),
        }
    }

    fn check_password(&self, username: &str, credentials: &Credentials) -> Result<Identity, Refusal> {
        let offered = credentials.password.as_deref().unwrap_or_default();
        // An unknown name takes as long as a known one, so that names cannot be probed for.
        let (is_known, expected) = match self.passwords.get(username) {
            Some(expected) => (true, expected.expose().as_bytes()),
            None => (false, &b"                "[..]),
        };
        if is_equal_in_constant_time(offered, expected) && is_known {
            return Ok(Identity { username: Some(username.into()) });
        }
        Err(refusal(Reason::BadUserNameOrPassword, "unknown user name or wrong password"))
    }

    fn allows_anonymous(&self, peer: &Peer, listener_is_loopback: bool) -> bool {
        match self.anonymous {
            Anonymous::Loopback => listener_is_loopback && peer.address.ip().to_canonical().is_loopback(),
            Anonymous::Never => false,
            Anonymous::Always => true,
        }
    }

    /// The text names the setting: the client's operator and the gateway's are often one person.
    fn anonymous_refusal(&self) -> Refusal {
        let text = match self.anonymous {
            Anonymous::Never => {
                "anonymous clients are refused (access.anonymous = \"never\"); connect with a user name and \
                 password from [[access.user]]"
            }
            _ => {
                "anonymous clients are accepted from this machine only; connect with a user name and password \
                 from [[access.user]], or set access.anonymous = \"always\""
            }
        };
        refusal(Reason::NotAuthorized, text)
    }
}

fn refusal(reason: Reason, text: &str) -> Refusal {
    Refusal { reason, text: text.into() }
}

/// Compares without telling by its duration where the difference is; the length of what is
/// expected may show.
fn is_equal_in_constant_time(offered: &[u8], expected: &[u8]) -> bool {
    let mut difference = usize::from(offered.len() != expected.len());
    for (position, expected) in expected.iter().enumerate() {
        let offered = offered.get(position).copied().unwrap_or_default();
        difference |= usize::from(std::hint::black_box(offered ^ expected));
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gateway_model::ClientId;

    use super::*;
    use crate::User;

    const LOCAL: &str = "127.0.0.1:40000";
    const REMOTE: &str = "192.0.2.7:40000";

    fn access(anonymous: Anonymous) -> Access {
        let user = User { name: "press".to_owned(), password: Secret::new("word") };
        Access::new(Config { anonymous, user: vec![user] })
    }

    fn identify(
        access: &Access,
        peer: &Peer,
        listener_is_loopback: bool,
        client_id: Option<&ClientId>,
        credentials: &Credentials,
    ) -> Result<Identity, Refusal> {
        let login = Login { peer, listener_is_loopback, client_id, credentials, authentication: None };
        match access.authenticate(login) {
            Verdict::Allowed(allowed) => Ok(allowed.identity),
            Verdict::Refused(refusal) => Err(refusal),
            Verdict::Slow(_) | Verdict::Challenge(..) => panic!("decided at once"),
        }
    }

    fn connect(
        access: &Access,
        address: &str,
        listener_is_loopback: bool,
        login: Option<(&str, &str)>,
    ) -> Result<Option<Box<str>>, Reason> {
        let peer = Peer::new(address.parse().unwrap(), "mqtt".into());
        let credentials = Credentials {
            username: login.map(|(name, _)| name.into()),
            password: login.map(|(_, password)| Bytes::copy_from_slice(password.as_bytes())),
        };
        let identity = identify(access, &peer, listener_is_loopback, None, &credentials);
        identity.map(|identity| identity.username).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn anonymous_clients_are_accepted_from_this_machine_through_a_listener_bound_to_it() {
        let access = access(Anonymous::Loopback);
        assert_eq!(connect(&access, LOCAL, true, None), Ok(None));
        assert_eq!(connect(&access, "[::1]:1", true, None), Ok(None));
        assert_eq!(connect(&access, "[::ffff:127.0.0.1]:1", true, None), Ok(None));
        // A tunnel or proxy on this machine makes strangers look local on a public listener.
        assert_eq!(connect(&access, LOCAL, false, None), Err(Reason::NotAuthorized));
        assert_eq!(connect(&access, REMOTE, false, None), Err(Reason::NotAuthorized));
        assert_eq!(connect(&access, REMOTE, true, None), Err(Reason::NotAuthorized));
    }

    #[test]
    fn never_and_always_mean_what_they_say() {
        assert_eq!(connect(&access(Anonymous::Never), LOCAL, true, None), Err(Reason::NotAuthorized));
        assert_eq!(connect(&access(Anonymous::Always), REMOTE, false, None), Ok(None));
    }

    #[test]
    fn a_user_needs_the_right_password_wherever_it_is() {
        for anonymous in [Anonymous::Loopback, Anonymous::Never, Anonymous::Always] {
            let access = access(anonymous);
            for address in [LOCAL, REMOTE] {
                let login = |name, word| connect(&access, address, true, Some((name, word)));
                assert_eq!(login("press", "word"), Ok(Some("press".into())));
                for (name, word) in
                    [("press", "wor"), ("press", "wordy"), ("press", ""), ("nobody", "word"), ("", "")]
                {
                    assert_eq!(login(name, word), Err(Reason::BadUserNameOrPassword), "{name} {word}");
                }
                assert_eq!(login("nobody", "                "), Err(Reason::BadUserNameOrPassword));
            }
        }
    }

    #[test]
    fn a_name_without_a_password_is_refused() {
        let peer = Peer::new(LOCAL.parse().unwrap(), "mqtt".into());
        let credentials = Credentials { username: Some("press".into()), password: None };
        let refused = identify(&access(Anonymous::Always), &peer, true, None, &credentials);
        assert_eq!(refused.unwrap_err().reason, Reason::BadUserNameOrPassword);
    }

    #[test]
    fn a_refusal_says_which_setting_to_change() {
        let peer = Peer::new(REMOTE.parse().unwrap(), "mqtt".into());
        let text = |anonymous| {
            identify(&access(anonymous), &peer, false, None, &Credentials::default()).unwrap_err().text
        };
        let loopback = text(Anonymous::Loopback);
        assert!(loopback.contains("[[access.user]]") && loopback.contains("access.anonymous = \"always\""));
        assert!(text(Anonymous::Never).contains("access.anonymous = \"never\""));
    }

    #[test]
    fn names_of_the_gateway_are_refused() {
        let peer = Peer::new(LOCAL.parse().unwrap(), "mqtt".into());
        let id = ClientId::parse("$bridge/plant").unwrap();
        let refused = identify(&access(Anonymous::Always), &peer, true, Some(&id), &Credentials::default())
            .unwrap_err();
        assert_eq!(refused.reason, Reason::ClientIdentifierNotValid);
    }

    #[test]
    fn topics_of_the_gateway_may_be_read_and_not_written() {
        let access = access(Anonymous::Always);
        let nobody = Identity::default();
        let topic = |text| Topic::parse(text).unwrap();
        assert!(access.may_publish(&nobody, &topic("a/$b")));
        assert!(!access.may_publish(&nobody, &topic("$SYS/broker/uptime")));
        assert!(!access.may_publish(&nobody, &topic("$anything")));
        assert!(access.may_subscribe(&nobody, &TopicFilter::parse("$SYS/#").unwrap()));
    }

    #[test]
    fn users_are_named_once_and_have_passwords() {
        let user =
            |name: &str, password: &str| User { name: name.to_owned(), password: Secret::new(password) };
        let check = |users: &[User]| {
            let config = Config { user: users.to_vec(), ..Config::default() };
            config.check().map_err(|(key, _)| key)
        };
        assert_eq!(check(&[user("a", "x"), user("b", "x")]), Ok(()));
        assert_eq!(check(&[user("a", "x"), user("a", "y")]), Err("user.1.name".to_owned()));
        assert_eq!(check(&[user("", "x")]), Err("user.0.name".to_owned()));
        assert_eq!(check(&[user("a", "")]), Err("user.0.password".to_owned()));
    }
}
