mod topics;

use bytes::Bytes;
use gateway_config::Secret;
use gateway_model::{ClientId, Credentials, Origin};

use super::*;
use crate::{Client, HashForm, PasswordFile, User};

const LOCAL: &str = "127.0.0.1:40000";
const REMOTE: &str = "192.0.2.7:40000";

fn user(name: &str, password: &str) -> User {
    User { name: name.to_owned(), password: Secret::new(password) }
}

fn config(anonymous: Anonymous) -> Config {
    Config { anonymous, user: vec![user("press", "word")], ..Config::default() }
}

/// A login to be made, from this machine unless it says otherwise.
struct Attempt {
    peer: Peer,
    listener_is_loopback: bool,
    client_id: Option<ClientId>,
    credentials: Credentials,
    authentication: Option<Authentication>,
}

impl Attempt {
    fn from(address: &str) -> Self {
        Self {
            peer: Peer::new(address.parse().unwrap(), "mqtt".into()),
            listener_is_loopback: true,
            client_id: None,
            credentials: Credentials::default(),
            authentication: None,
        }
    }

    fn id(mut self, id: &str) -> Self {
        self.client_id = Some(ClientId::parse(id).unwrap());
        self
    }

    fn name(mut self, name: &str) -> Self {
        self.credentials.username = Some(name.into());
        self
    }

    fn password(mut self, password: &str) -> Self {
        self.credentials.password = Some(Bytes::copy_from_slice(password.as_bytes()));
        self
    }

    fn certificate(mut self, name: &str) -> Self {
        let listener = self.peer.listener().clone();
        self.peer.origin = Arc::new(Origin { listener, certificate_name: Some(name.into()) });
        self
    }

    fn scram(mut self, data: &str) -> Self {
        let data = Some(Bytes::copy_from_slice(data.as_bytes()));
        self.authentication = Some(Authentication { method: METHOD.into(), data });
        self
    }

    fn verdict(&self, access: &Access) -> Verdict {
        access.authenticate(Login {
            peer: &self.peer,
            listener_is_loopback: self.listener_is_loopback,
            client_id: self.client_id.as_ref(),
            credentials: &self.credentials,
            authentication: self.authentication.as_ref(),
        })
    }

    fn outcome(&self, access: &Access) -> Result<Identity, Refusal> {
        match self.verdict(access) {
            Verdict::Allowed(allowed) => Ok(allowed.identity),
            Verdict::Refused(refusal) => Err(refusal),
            Verdict::Slow(_) | Verdict::Challenge(..) => panic!("decided at once"),
        }
    }

    /// What comes of it in the end, and whether it took another thread.
    fn outcome_slowly(&self, access: &Access) -> (Result<Identity, Reason>, bool) {
        match self.verdict(access) {
            Verdict::Slow(work) => (decided(work()), true),
            verdict => (decided(verdict), false),
        }
    }
}

fn decided(verdict: Verdict) -> Result<Identity, Reason> {
    match verdict {
        Verdict::Allowed(allowed) => Ok(allowed.identity),
        Verdict::Refused(refusal) => Err(refusal.reason),
        Verdict::Slow(_) | Verdict::Challenge(..) => panic!("decided"),
    }
}

fn connect(access: &Access, address: &str, public: bool, login: Option<(&str, &str)>) -> Result<Way, Reason> {
    let mut attempt = Attempt::from(address);
    attempt.listener_is_loopback = !public;
    if let Some((name, password)) = login {
        attempt = attempt.name(name).password(password);
    }
    attempt.outcome(access).map(|identity| identity.way).map_err(|refusal| refusal.reason)
}

#[test]
fn anonymous_clients_are_accepted_from_this_machine_through_a_listener_bound_to_it() {
    let access = Access::new(config(Anonymous::Loopback));
    assert_eq!(connect(&access, LOCAL, false, None), Ok(Way::Anonymous));
    assert_eq!(connect(&access, "[::1]:1", false, None), Ok(Way::Anonymous));
    assert_eq!(connect(&access, "[::ffff:127.0.0.1]:1", false, None), Ok(Way::Anonymous));
    // A tunnel or proxy on this machine makes strangers look local on a public listener.
    assert_eq!(connect(&access, LOCAL, true, None), Err(Reason::NotAuthorized));
    assert_eq!(connect(&access, REMOTE, true, None), Err(Reason::NotAuthorized));
    assert_eq!(connect(&access, REMOTE, false, None), Err(Reason::NotAuthorized));
}

#[test]
fn never_and_always_mean_what_they_say() {
    let never = Access::new(config(Anonymous::Never));
    assert_eq!(connect(&never, LOCAL, false, None), Err(Reason::NotAuthorized));
    assert_eq!(connect(&Access::new(config(Anonymous::Always)), REMOTE, true, None), Ok(Way::Anonymous));
}

#[test]
fn a_listener_may_have_a_rule_of_its_own_for_anonymous_clients() {
    let own = [("mqtt".to_owned(), Anonymous::Always)];
    let access = Access::new(config(Anonymous::Never)).with_listeners(own);
    assert_eq!(connect(&access, REMOTE, true, None), Ok(Way::Anonymous));
    let own = [("mqtt".to_owned(), Anonymous::Never)];
    let access = Access::new(config(Anonymous::Always)).with_listeners(own);
    let refused = Attempt::from(LOCAL).outcome(&access).unwrap_err();
    assert!(refused.text.contains("listener.mqtt.anonymous = \"never\""), "{}", refused.text);
}

#[test]
fn a_user_needs_the_right_password_wherever_it_is() {
    for anonymous in [Anonymous::Loopback, Anonymous::Never, Anonymous::Always] {
        let access = Access::new(config(anonymous));
        for address in [LOCAL, REMOTE] {
            let login = |name, word| connect(&access, address, false, Some((name, word)));
            assert_eq!(login("press", "word"), Ok(Way::User));
            for (name, word) in
                [("press", "wor"), ("press", "wordy"), ("press", ""), ("nobody", "word"), ("", "")]
            {
                assert_eq!(login(name, word), Err(Reason::BadUserNameOrPassword), "{name} {word}");
            }
        }
    }
}

#[test]
fn where_no_name_can_be_proven_one_makes_no_difference() {
    let named = |anonymous, address| {
        let access = Access::new(Config { anonymous, ..Config::default() });
        connect(&access, address, false, Some(("habit", "word")))
    };
    assert_eq!(named(Anonymous::Loopback, LOCAL), Ok(Way::Anonymous));
    assert_eq!(named(Anonymous::Loopback, REMOTE), Err(Reason::NotAuthorized));
    assert_eq!(named(Anonymous::Never, LOCAL), Err(Reason::NotAuthorized));
    let file = Config { password_file: "users".into(), ..Config::default() };
    let unread = connect(&Access::new(file), LOCAL, false, Some(("habit", "word")));
    assert_eq!(unread, Err(Reason::BadUserNameOrPassword), "a file that is not read is not none");
}

#[test]
fn a_name_without_a_password_is_refused() {
    let access = Access::new(config(Anonymous::Always));
    let refused = Attempt::from(LOCAL).name("press").outcome(&access);
    assert_eq!(refused.unwrap_err().reason, Reason::BadUserNameOrPassword);
}

#[test]
fn a_refusal_says_which_setting_to_change() {
    let text = |anonymous| Attempt::from(REMOTE).outcome(&Access::new(config(anonymous))).unwrap_err().text;
    let loopback = text(Anonymous::Loopback);
    assert!(loopback.contains("[[access.user]]") && loopback.contains("access.anonymous = \"always\""));
    assert!(text(Anonymous::Never).contains("access.anonymous = \"never\""));
}

#[test]
fn names_of_the_gateway_are_refused() {
    let access = Access::new(config(Anonymous::Always));
    let refused = Attempt::from(LOCAL).id("$bridge/plant").outcome(&access).unwrap_err();
    assert_eq!(refused.reason, Reason::ClientIdentifierNotValid);
}

/// With users of one kind, so that an unknown name meets a decoy of that kind.
fn with_hashed_user(form: HashForm) -> Access {
    let user = vec![user("press", &form.hash(b"word"))];
    Access::new(Config { user, ..Config::default() })
}

#[test]
fn a_costly_hash_is_checked_on_another_thread_and_success_is_remembered() {
    let access = with_hashed_user(HashForm::ScramSha256);
    let right = Attempt::from(REMOTE).name("press").password("word");
    let wrong = Attempt::from(REMOTE).name("press").password("other");
    let user = Ok(Identity { username: Some("press".into()), way: Way::User });
    assert_eq!(right.outcome_slowly(&access), (user.clone(), true));
    assert_eq!(right.outcome_slowly(&access), (user, false), "remembered");
    for _ in 0..2 {
        assert_eq!(wrong.outcome_slowly(&access), (Err(Reason::BadUserNameOrPassword), true));
    }
    access.reload().unwrap();
    assert!(right.outcome_slowly(&access).1, "a reload forgets");
}

#[test]
fn a_login_checked_under_the_old_users_is_not_remembered_under_the_new_ones() {
    let access = with_hashed_user(HashForm::ScramSha256);
    let right = Attempt::from(REMOTE).name("press").password("word");
    let Verdict::Slow(work) = right.verdict(&access) else { panic!("slow") };
    access.reload().unwrap();
    assert!(decided(work()).is_ok());
    assert!(right.outcome_slowly(&access).1);
}

#[test]
fn an_unknown_name_costs_what_a_known_one_does() {
    for form in [HashForm::Argon2id, HashForm::ScramSha256] {
        let unknown = Attempt::from(REMOTE).name("nobody").password("word");
        let outcome = unknown.outcome_slowly(&with_hashed_user(form));
        assert_eq!(outcome, (Err(Reason::BadUserNameOrPassword), true), "{form:?}");
    }
    let plain = Access::new(config(Anonymous::Never));
    assert!(!Attempt::from(REMOTE).name("nobody").password("word").outcome_slowly(&plain).1);
}

#[test]
fn a_client_of_the_list_is_let_in_and_proves_its_password_if_it_has_one() {
    let client =
        |id: &str, password: Option<&str>| Client { id: id.to_owned(), password: password.map(Secret::new) };
    let hashed = HashForm::ScramSha256.hash(b"word");
    let list = [client("free", None), client("shut", Some("word")), client("hashed", Some(&hashed))];
    for anonymous in [Anonymous::Never, Anonymous::Always] {
        let access = Access::new(Config { client: list.to_vec(), ..config(anonymous) });
        let from = |id| Attempt::from(REMOTE).id(id);
        let way = |attempt: Attempt| {
            let (outcome, _) = attempt.outcome_slowly(&access);
            outcome.map(|identity| (identity.way, identity.username.is_some()))
        };
        let (listed, wrong) = (Ok((Way::Client, false)), Err(Reason::BadUserNameOrPassword));
        assert_eq!(way(from("free")), listed);
        assert_eq!(way(from("shut").password("word")), listed);
        assert_eq!(way(from("hashed").password("word")), listed);
        // Not even if anybody may come in: the identifier belongs to whoever knows its password.
        assert_eq!(way(from("shut")), wrong);
        assert_eq!(way(from("shut").password("x")), wrong);
        assert_eq!(way(from("hashed").password("x")), wrong);
        // MQTT 3.1.1 has no password without a name.
        assert_eq!(way(from("shut").name("shut").password("word")), listed);
        assert_eq!(way(from("shut").name("shut").password("x")), wrong);
        // A name is never ignored.
        assert_eq!(way(from("free").name("nobody").password("word")), wrong);
        assert_eq!(way(from("free").name("press").password("x")), wrong);
        assert_eq!(way(from("free").name("press").password("word")), Ok((Way::User, true)));
        assert_eq!(way(from("other")).is_ok(), anonymous == Anonymous::Always);
    }
}

#[test]
fn a_certificate_s_name_is_the_user_and_no_other_may_be_offered() {
    let access = Access::new(config(Anonymous::Never));
    let certified = || Attempt::from(REMOTE).certificate("meter");
    let identity = Ok(Identity { username: Some("meter".into()), way: Way::Certificate });
    assert_eq!(certified().outcome_slowly(&access).0, identity);
    assert_eq!(certified().name("meter").outcome_slowly(&access).0, identity);
    let other = certified().name("press").password("word").outcome_slowly(&access).0;
    assert_eq!(other, Err(Reason::BadUserNameOrPassword));
    let other = certified().scram("n,,n=press,r=abc").outcome_slowly(&access).0;
    assert_eq!(other, Err(Reason::BadUserNameOrPassword));
}

/// The client's side of SCRAM-SHA-256, with what the standard says it computes.
fn scram(access: &Access, attempt: Attempt, name: &str, password: &str) -> (Result<Identity, Reason>, bool) {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::{Digest, Sha256};
    let hmac = |key: &[u8], text: &[u8]| -> [u8; 32] {
        Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(text).finalize().into_bytes().into()
    };
    let bare = format!("n={name},r=clientnonce");
    let verdict = attempt.scram(&format!("n,,{bare}")).verdict(access);
    let Verdict::Challenge(challenge, exchange) = verdict else { return (decided(verdict), false) };
    let challenge = std::str::from_utf8(&challenge).unwrap();
    let mut fields = challenge.split(',').map(|field| &field[2..]);
    let (nonce, salt, iterations) = (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap());
    assert!(nonce.starts_with("clientnonce") && nonce.len() > 30, "{nonce}");
    let mut salted = [0; 32];
    let salt = crate::secret_bytes::decode(salt).unwrap();
    ::pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, iterations.parse().unwrap(), &mut salted);
    let without_proof = format!("c=biws,r={nonce}");
    let message = format!("{bare},{challenge},{without_proof}");
    let key = hmac(&salted, b"Client Key");
    let signature = hmac(&Sha256::digest(key), message.as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
    let answer = format!("{without_proof},p={}", crate::secret_bytes::encode(&proof));
    let (verdict, slow) = match exchange.answer(answer.as_bytes()) {
        Verdict::Slow(work) => (work(), true),
        verdict => (verdict, false),
    };
    if let Verdict::Allowed(allowed) = &verdict {
        let signature = hmac(&hmac(&salted, b"Server Key"), message.as_bytes());
        let expected = format!("v={}", crate::secret_bytes::encode(&signature));
        assert_eq!(allowed.data.as_deref(), Some(expected.as_bytes()));
    }
    (decided(verdict), slow)
}

#[test]
fn users_with_a_plain_password_or_an_entry_of_its_form_log_in_by_scram() {
    for (access, slow) in
        [(Access::new(config(Anonymous::Never)), true), (with_hashed_user(HashForm::ScramSha256), false)]
    {
        let attempt = || Attempt::from(REMOTE);
        let user = Ok(Identity { username: Some("press".into()), way: Way::User });
        let wrong = Err(Reason::BadUserNameOrPassword);
        assert_eq!(scram(&access, attempt(), "press", "word"), (user.clone(), slow));
        assert_eq!(scram(&access, attempt().name("press"), "press", "word"), (user, slow));
        assert_eq!(scram(&access, attempt(), "press", "wrong"), (wrong.clone(), slow));
        assert_eq!(
            scram(&access, attempt(), "nobody", "word"),
            (wrong.clone(), slow),
            "as slow as a known one"
        );
        assert_eq!(scram(&access, attempt().name("other"), "press", "word"), (wrong, false));
    }
}

#[test]
fn scram_challenges_do_not_tell_whether_a_name_is_known() {
    let challenge = |access: &Access, name: &str| {
        let verdict = Attempt::from(REMOTE).scram(&format!("n,,n={name},r=x")).verdict(access);
        let Verdict::Challenge(data, _) = verdict else { panic!("a challenge") };
        let text = String::from_utf8(data.to_vec()).unwrap();
        let (nonce, rest) = text.split_once(',').unwrap();
        (nonce.to_owned(), rest.to_owned())
    };
    for access in [Access::new(config(Anonymous::Never)), with_hashed_user(HashForm::ScramSha256)] {
        let (known, unknown) = (challenge(&access, "press"), challenge(&access, "nobody"));
        assert_eq!((known.0.len(), known.1.len()), (unknown.0.len(), unknown.1.len()));
        for name in ["press", "nobody"] {
            let (one, other) = (challenge(&access, name), challenge(&access, name));
            assert_ne!(one.0, other.0, "nonces are never the same");
            assert_eq!(one.1, other.1, "the salt of a name is always the same");
        }
        assert_ne!(challenge(&access, "nobody").1, challenge(&access, "nobody2").1);
    }
}

#[test]
fn an_unknown_name_is_answered_the_same_after_a_restart() {
    let mut user = vec![user("plain", "word")];
    for form in [HashForm::ScramSha256, HashForm::Argon2id] {
        user.push(self::user(&format!("{form:?}"), &form.hash(b"word")));
    }
    let secret = Access::new_secret();
    let start = || Access::new(Config { user: user.clone(), ..Config::default() }).with_secret(secret);
    let answer = |access: &Access, name: &str| {
        match Attempt::from(REMOTE).scram(&format!("n,,n={name},r=x")).verdict(access) {
            // Without the nonce.
            Verdict::Challenge(data, _) => String::from_utf8(data.to_vec()).unwrap().split_off(27),
            Verdict::Refused(refusal) => refusal.text.into(),
            Verdict::Allowed(_) | Verdict::Slow(_) => panic!("decided"),
        }
    };
    let (before, after) = (start(), start());
    after.reload().unwrap();
    for number in 0..20 {
        let name = format!("nobody{number}");
        assert_eq!(answer(&before, &name), answer(&after, &name));
    }
}

#[test]
fn scram_is_refused_with_the_reason() {
    let access = with_hashed_user(HashForm::Argon2id);
    for name in ["press", "nobody"] {
        let refused = Attempt::from(REMOTE).scram(&format!("n,,n={name},r=x")).outcome(&access).unwrap_err();
        assert!(refused.text.contains("SCRAM-SHA-256 entry"), "{}", refused.text);
    }
    let mut other = Attempt::from(REMOTE).scram("");
    other.authentication = Some(Authentication { method: "SCRAM-SHA-1".into(), data: None });
    assert_eq!(other.outcome(&access).unwrap_err().reason, Reason::BadAuthenticationMethod);
    let empty = Attempt::from(REMOTE).scram("").outcome(&access).unwrap_err();
    assert_eq!(empty.reason, Reason::NotAuthorized);
}

#[test]
fn a_scram_answer_belongs_to_its_exchange() {
    let access = with_hashed_user(HashForm::ScramSha256);
    for answer in [
        "",
        "c=biws,r=x,p=AAAA",
        // The header of another client-first-message: "y,,".
        "c=eSws,r={nonce},p=AAAA",
    ] {
        let Verdict::Challenge(challenge, exchange) =
            Attempt::from(REMOTE).scram("n,,n=press,r=x").verdict(&access)
        else {
            panic!("a challenge")
        };
        let nonce = std::str::from_utf8(&challenge).unwrap()[2..].split(',').next().unwrap();
        let answer = answer.replace("{nonce}", nonce);
        assert_eq!(decided(exchange.answer(answer.as_bytes())), Err(Reason::NotAuthorized), "{answer}");
    }
}

/// A folder that is gone when dropped.
struct Folder(std::path::PathBuf);

impl Folder {
    fn make(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-access-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn passwords(names: &[&str]) -> String {
    let mut file = PasswordFile::default();
    for name in names {
        file.set(name, &HashForm::ScramSha256.hash(b"word"));
    }
    file.to_text()
}

#[test]
fn files_are_read_by_a_reload_and_a_wrong_one_changes_nothing() {
    let folder = Folder::make("reload");
    let password_file = folder.write("passwords", &passwords(&["one"]));
    let acl_file = folder.write("acl", "allow all #\n");
    let access = Access::new(Config { password_file, acl_file, ..config(Anonymous::Always) });
    let login =
        |name: &str| Attempt::from(REMOTE).name(name).password("word").outcome_slowly(&access).0.is_ok();
    let identity = Identity::default();
    let subject = subject(&identity, "c", REMOTE);
    let topic = Topic::parse("a").unwrap();
    let publish = || access.may_publish(&subject, &topic, Qos::AtMostOnce, false);

    assert!(!login("one") && login("press"));
    assert_eq!(publish(), Err(Denial::Unmatched), "closed until the file is read");
    assert_eq!(access.reload(), Ok(Loaded { users: 2, rules: 1 }));
    let generation = access.generation();
    assert!(login("one") && login("press") && publish().is_ok());

    folder.write("passwords", &passwords(&["two"]));
    folder.write("acl", "deny all #\nallow nothing");
    let error = access.reload().unwrap_err();
    assert!(error.to_string().contains("acl:2: \"nothing\""), "{error}");
    assert!(login("one") && !login("two") && publish().is_ok());
    assert_eq!(access.generation(), generation);

    folder.write("acl", "# nobody\n\ndeny all #\n");
    assert_eq!(access.reload(), Ok(Loaded { users: 2, rules: 1 }));
    assert!(!login("one") && login("two"));
    assert_eq!(publish(), Err(Denial::Rule { line: 3 }));
    assert!(access.generation() > generation);

    std::fs::remove_file(folder.0.join("passwords")).unwrap();
    assert!(access.reload().unwrap_err().to_string().contains("passwords: cannot be read"));
    assert!(login("two"));

    folder.write("passwords", &passwords(&["press"]));
    let error = access.reload().unwrap_err().to_string();
    assert!(error.contains("\"press\" is in [[access.user]] too"), "{error}");
}

fn subject<'a>(identity: &'a Identity, client_id: &'a str, address: &str) -> Subject<'a> {
    let address: std::net::SocketAddr = address.parse().unwrap();
    Subject { identity, client_id, address: address.ip(), listener: "mqtt" }
}

#[test]
fn what_is_wrong_with_the_settings_is_named() {
    let check = |config: Config| config.check().map_err(|(key, _)| key);
    let users = |users: &[User]| check(Config { user: users.to_vec(), ..Config::default() });
    assert_eq!(users(&[user("a", "x"), user("b", "x")]), Ok(()));
    assert_eq!(users(&[user("a", "x"), user("a", "y")]), Err("user.1.name".to_owned()));
    assert_eq!(users(&[user("", "x")]), Err("user.0.name".to_owned()));
    assert_eq!(users(&[user("a", "")]), Err("user.0.password".to_owned()));
    assert_eq!(users(&[user("a", "$argon2id$v=19$m=1")]), Err("user.0.password".to_owned()));
    let clients = |ids: &[&str]| {
        let client = ids.iter().map(|id| Client { id: (*id).to_owned(), password: None }).collect();
        check(Config { client, ..Config::default() })
    };
    assert_eq!(clients(&["a", "b"]), Ok(()));
    assert_eq!(clients(&["a", "a"]), Err("client.1.id".to_owned()));
    assert_eq!(clients(&["$a"]), Err("client.0.id".to_owned()));
    assert_eq!(clients(&[""]), Err("client.0.id".to_owned()));
}
