use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use gateway_config::Anonymous;
use gateway_model::{Authentication, ClientId, Peer, Qos, Reason, Refusal, Topic, TopicFilter};
use parking_lot::RwLock;

use crate::acl::{Denial, Rules};
use crate::identity::{Way, is_loopback};
use crate::password::Password;
use crate::scram::{METHOD, Scram};
use crate::secret_bytes::random;
use crate::users::{Found, Users};
use crate::verdict::refuse;
use crate::{Allowed, Config, FileError, Identity, Login, Subject, Verdict};

/// Decides who may connect, and what they may publish and read.
pub struct Access {
    config: Config,
    /// Listeners that have a rule of their own for clients without a name.
    anonymous_at: HashMap<Box<str>, Anonymous>,
    clients: HashMap<Box<str>, Option<Arc<Password>>>,
    /// See [`Self::with_secret`].
    secret: [u8; 32],
    users: RwLock<Arc<Users>>,
    rules: RwLock<Arc<Rules>>,
    /// Counts the readings of `rules`; 0 if there are none, and only topics with `$` are special.
    generation: AtomicU64,
}

/// What a reload found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub users: usize,
    pub rules: usize,
}

const WRONG: &str = "unknown user name or wrong password";

impl Access {
    /// Knows what stands in the settings. The files that they name are read by [`Self::reload`]; until
    /// then their users are unknown and all topics are closed.
    pub fn new(config: Config) -> Self {
        let clients = config.client.iter().filter_map(|client| {
            // `Config::check` refuses broken hashes; here such a client is just not on the list.
            let password = match &client.password {
                None => None,
                Some(text) => Some(Arc::new(
                    Password::parse_hash(text.expose())
                        .ok()?
                        .unwrap_or_else(|| Password::Plain(text.clone())),
                )),
            };
            Some((client.id.as_str().into(), password))
        });
        let (rules, generation) = if config.has_acl() { (Rules::closed(), 1) } else { (Rules::none(), 0) };
        let secret = random();
        Self {
            secret,
            anonymous_at: HashMap::new(),
            clients: clients.collect(),
            users: RwLock::new(Arc::new(Users::in_settings(&config, secret))),
            rules: RwLock::new(Arc::new(rules)),
            generation: AtomicU64::new(generation),
            config,
        }
    }

    /// Decides what an unknown user name is answered. A known one is answered the same after a restart,
    /// so an unknown one has to be too: keep the secret with the gateway's data. It must not follow
    /// from a password, or an invented salt would be a way to try passwords.
    pub fn with_secret(mut self, secret: [u8; 32]) -> Self {
        self.users = RwLock::new(Arc::new(Users::in_settings(&self.config, secret)));
        Self { secret, ..self }
    }

    /// A secret for [`Self::with_secret`].
    pub fn new_secret() -> [u8; 32] {
        random()
    }

    /// Says for single listeners who may connect there without a user name.
    pub fn with_listeners(mut self, overrides: impl IntoIterator<Item = (String, Anonymous)>) -> Self {
        let overrides = overrides.into_iter().map(|(name, anonymous)| (name.into_boxed_str(), anonymous));
        self.anonymous_at = overrides.collect();
        self
    }

    /// Reads the files that the settings name. If one of them is wrong, nothing changes.
    pub fn reload(&self) -> Result<Loaded, FileError> {
        let (users, rules) = (Users::load(&self.config, self.secret)?, Rules::load(&self.config)?);
        let loaded = Loaded { users: users.len(), rules: rules.len() };
        *self.users.write() = Arc::new(users);
        *self.rules.write() = Arc::new(rules);
        if self.config.has_acl() {
            self.generation.fetch_add(1, Ordering::Release);
        }
        Ok(loaded)
    }

    /// Whether a client may open a session, and as whom. The ways, in their order:
    ///
    /// 1. an authentication method, if one is named: SCRAM-SHA-256
    /// 2. the name in the client's certificate: it is that user
    /// 3. a user name with its password
    /// 4. the list of client identifiers
    /// 5. without a name: the setting `anonymous`
    ///
    /// A name that is offered is never ignored: two different ones are refused, and so is one that is
    /// not proven, whatever a later way would say. Only where there are no users at all, and so no name
    /// could be proven, a client that offers one is a client without a name: many send one by habit. A
    /// client identifier that begins with `$` is the gateway's.
    pub fn authenticate(&self, login: Login<'_>) -> Verdict {
        let verdict = if login.client_id.is_some_and(ClientId::is_reserved) {
            Err(refuse(
                Reason::ClientIdentifierNotValid,
                "client identifiers that begin with $ belong to the gateway",
            ))
        } else if let Some(authentication) = login.authentication {
            self.begin_exchange(login, authentication)
        } else if let Some(name) = login.peer.certificate_name() {
            by_certificate(login, name)
        } else if let (Some(username), true) = (&login.credentials.username, self.has_names()) {
            self.by_username(login, username)
        } else {
            self.without_name(login)
        };
        verdict.unwrap_or_else(Verdict::Refused)
    }

    /// Grows with every reload of the rules: what was allowed under the same number still is. 0 if
    /// there are no rules, and the answers cost less than remembering them.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the session may publish on a topic. Topics that begin with `$` are the gateway's own.
    #[inline]
    pub fn may_publish(
        &self,
        subject: &Subject<'_>,
        topic: &Topic,
        qos: Qos,
        retain: bool,
    ) -> Result<(), Denial> {
        if self.generation() == 0 {
            return if topic.is_reserved() { Err(Denial::Reserved) } else { Ok(()) };
        }
        self.rules.read().judge_publish(subject, topic, qos, retain)
    }

    /// Whether the session may subscribe to a filter.
    pub fn may_subscribe(&self, subject: &Subject<'_>, filter: &TopicFilter, qos: Qos) -> Result<(), Denial> {
        self.rules.read().judge_subscribe(subject, filter.path(), qos)
    }

    /// Whether the session may read what is retained, which it may if it could subscribe at any QoS.
    pub fn may_read(&self, subject: &Subject<'_>, filter: &TopicFilter) -> Result<(), Denial> {
        let rules = self.rules.read();
        let judge = |qos| rules.judge_subscribe(subject, filter.path(), qos);
        judge(Qos::AtMostOnce)
            .or_else(|denial| judge(Qos::AtLeastOnce).or(judge(Qos::ExactlyOnce)).map_err(|_| denial))
    }

    /// Whether a user name or client identifier can be proven here.
    fn has_names(&self) -> bool {
        self.config.has_users() || !self.config.client.is_empty()
    }

    fn begin_exchange(&self, login: Login<'_>, authentication: &Authentication) -> Result<Verdict, Refusal> {
        if *authentication.method != *METHOD {
            let text = "no such authentication method; there is SCRAM-SHA-256";
            return Err(refuse(Reason::BadAuthenticationMethod, text));
        }
        let (offered, certified) = (&login.credentials.username, login.peer.certificate_name());
        let other_name = match (offered.as_deref(), certified.map(|name| &**name)) {
            (Some(offered), Some(certified)) if offered != certified => {
                return Err(refuse(Reason::BadUserNameOrPassword, OTHER_THAN_CERTIFICATE));
            }
            (offered, certified) => offered.or(certified),
        };
        let Some(data) = &authentication.data else {
            let text = "SCRAM-SHA-256 begins with the client's message, and there is none";
            return Err(refuse(Reason::NotAuthorized, text));
        };
        Ok(Scram::begin(&self.users.read().clone(), data, other_name))
    }

    fn by_username(&self, login: Login<'_>, username: &str) -> Result<Verdict, Refusal> {
        let users = self.users.read().clone();
        let password = login.credentials.password.clone().unwrap_or_default();
        let found = users.find(username);
        // MQTT 3.1.1 carries no password without a user name (section 3.1.2.9): a client of the list
        // that has one sends its identifier as its name.
        if let (Found::Decoy(_), Some(id)) = (&found, login.client_id)
            && id.as_str() == username
            && self.clients.contains_key(username)
        {
            return self.by_client_list(login).unwrap_or_else(|| Err(wrong()));
        }
        let identity = Identity { username: Some(username.into()), way: Way::User };
        let (Found::User(stored) | Found::Decoy(Some(stored))) = found else { return Err(wrong()) };
        if !stored.is_slow() {
            return judge(users.verify(username, &password), identity);
        }
        if users.proven.contains(Instant::now(), username, &password) {
            return Ok(allow(identity));
        }
        let username: Box<str> = username.into();
        Ok(Verdict::Slow(Box::new(move || {
            judge(users.verify_slowly(&username, &password), identity).unwrap_or_else(Verdict::Refused)
        })))
    }

    /// `None` if the client's identifier is not in the list.
    fn by_client_list(&self, login: Login<'_>) -> Option<Result<Verdict, Refusal>> {
        let id = login.client_id?.as_str();
        let stored = self.clients.get(id)?;
        let identity = Identity { username: None, way: Way::Client };
        let Some(stored) = stored.clone() else { return Some(Ok(allow(identity))) };
        let password = login.credentials.password.clone().unwrap_or_default();
        if !stored.is_slow() {
            return Some(judge(stored.verify(&password), identity));
        }
        // No user name holds U+0000 (MQTT 5.0 section 1.5.4), so this is nobody's.
        let name = format!("\0{id}");
        let users = self.users.read().clone();
        if users.proven.contains(Instant::now(), &name, &password) {
            return Some(Ok(allow(identity)));
        }
        Some(Ok(Verdict::Slow(Box::new(move || {
            let is_right = stored.verify(&password);
            if is_right {
                users.proven.insert(Instant::now(), &name, &password);
            }
            judge(is_right, identity).unwrap_or_else(Verdict::Refused)
        }))))
    }

    fn without_name(&self, login: Login<'_>) -> Result<Verdict, Refusal> {
        if let Some(verdict) = self.by_client_list(login) {
            return verdict;
        }
        let own = self.anonymous_at.get(&**login.peer.listener());
        let anonymous = own.copied().unwrap_or(self.config.anonymous);
        if is_welcome(anonymous, login.peer, login.listener_is_loopback) {
            return Ok(allow(Identity::default()));
        }
        let setting = match own {
            Some(_) => format!("listener.{}.anonymous", login.peer.listener()),
            None => "access.anonymous".to_owned(),
        };
        // The text names the setting: the client's operator and the gateway's are often one person.
        let text = match anonymous {
            Anonymous::Never => format!(
                "anonymous clients are refused ({setting} = \"never\"); connect with a user name and password \
                 from [[access.user]] or access.password_file"
            ),
            _ => format!(
                "anonymous clients are accepted from this machine only, at a listener that is bound to it; connect \
                 with a user name and password from [[access.user]] or access.password_file, or set \
                 {setting} = \"always\""
            ),
        };
        Err(refuse(Reason::NotAuthorized, &text))
    }
}

const OTHER_THAN_CERTIFICATE: &str = "the user name is not the one in the client's certificate";

fn by_certificate(login: Login<'_>, name: &str) -> Result<Verdict, Refusal> {
    match &login.credentials.username {
        Some(offered) if **offered != *name => {
            Err(refuse(Reason::BadUserNameOrPassword, OTHER_THAN_CERTIFICATE))
        }
        _ => Ok(allow(Identity { username: Some(name.into()), way: Way::Certificate })),
    }
}

fn is_welcome(anonymous: Anonymous, peer: &Peer, listener_is_loopback: bool) -> bool {
    match anonymous {
        Anonymous::Loopback => listener_is_loopback && is_loopback(peer.address.ip()),
        Anonymous::Never => false,
        Anonymous::Always => true,
    }
}

fn allow(identity: Identity) -> Verdict {
    Verdict::Allowed(Allowed { identity, data: None })
}

fn judge(is_right: bool, identity: Identity) -> Result<Verdict, Refusal> {
    if is_right { Ok(allow(identity)) } else { Err(wrong()) }
}

fn wrong() -> Refusal {
    refuse(Reason::BadUserNameOrPassword, WRONG)
}

#[cfg(test)]
mod tests;
