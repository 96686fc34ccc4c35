use std::fmt;
use std::path::PathBuf;

use figment::value::Value;
use serde::de::DeserializeOwned;

use crate::secret::shown;
use crate::section::{Section, suggestion};
use crate::tree::Tree;
use crate::{
    Admin, Bind, BridgeEntry, BridgeKeys, Carrier, Delayed, Key, Known, Limits, Listener, ListenerTls, Log,
    Node, Origin, Problems, ProxyProtocol, Retained, Schema, Session, Shared, Store,
};

/// The sections that this crate reads itself.
const OWN_SECTIONS: &[&str] = &[
    "node", "listener", "admin", "store", "session", "shared", "delayed", "retained", "limits", "log",
    "bridge",
];

/// Settings in which nothing is wrong.
#[derive(Clone)]
pub struct Settings {
    pub node: Node,
    pub admin: Admin,
    pub store: Store,
    pub session: Session,
    pub shared: Shared,
    pub delayed: Delayed,
    pub retained: Retained,
    pub limits: Limits,
    pub log: Log,
    listeners: Vec<Listener>,
    bridges: Vec<BridgeEntry>,
    tree: Tree,
}

impl fmt::Debug for Settings {
    /// The report: the tree itself holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.report().iter().map(Line::to_string)).finish()
    }
}

impl Settings {
    /// All listeners by name, the disabled ones too.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// All bridges in the order of the file, the disabled ones too.
    pub fn bridges(&self) -> &[BridgeEntry] {
        &self.bridges
    }

    /// A section that another crate owns, such as `mqtt`. An absent one reads as empty.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, Problems> {
        let mut problems = Problems::default();
        Section::at(&self.tree, Key::new([name])).read(&mut problems).ok_or(problems)
    }

    /// A section that is a list of another crate's, such as `rewrite`. An absent one reads as empty.
    pub fn list<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, Problems> {
        let mut problems = Problems::default();
        Section::list_at(&self.tree, Key::new([name])).read(&mut problems).ok_or(problems)
    }

    /// Where the value at a key such as `["node", "name"]` was written.
    pub fn origin(&self, key: &Key) -> Origin {
        self.tree.origin(key)
    }

    /// Every value with its origin, secrets masked: what `tidegate check` prints.
    pub fn report(&self) -> Vec<Line> {
        let line = |(key, value): (Key, &Value)| Line {
            value: shown(&key, value),
            origin: self.tree.origin(&key),
            key,
        };
        self.tree.leaves().into_iter().map(line).collect()
    }

    pub(crate) fn read(tree: Tree, known: &Known, mut problems: Problems) -> Result<Self, Problems> {
        check_sections(&tree, known, &mut problems);
        let listeners = read_listeners(&tree, known, &mut problems);
        let bridges = read_bridges(&tree, known, &mut problems);
        let settings = Self {
            node: own(&tree, "node", &mut problems),
            admin: own(&tree, "admin", &mut problems),
            store: own(&tree, "store", &mut problems),
            session: own(&tree, "session", &mut problems),
            shared: own(&tree, "shared", &mut problems),
            delayed: own(&tree, "delayed", &mut problems),
            retained: own(&tree, "retained", &mut problems),
            limits: own(&tree, "limits", &mut problems),
            log: own(&tree, "log", &mut problems),
            listeners,
            bridges,
            tree,
        };
        check_addresses(&settings, known, &mut problems);
        problems.sort();
        problems.into_result()?;
        Ok(settings)
    }
}

/// One value, as `key = value   # origin`.
#[derive(Clone, Debug)]
pub struct Line {
    pub key: Key,
    /// As TOML, secrets masked.
    pub value: String,
    pub origin: Origin,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let setting = format!("{} = {}", self.key, self.value);
        write!(f, "{setting:<56} # {}", self.origin)
    }
}

/// A section of this crate; the default stands in for a wrong one, which is never handed out.
fn own<T: DeserializeOwned + Default>(tree: &Tree, name: &str, problems: &mut Problems) -> T {
    Section::at(tree, Key::new([name])).read(problems).unwrap_or_default()
}

/// Looks for sections that nobody reads, and has the others judged by their owners.
fn check_sections(tree: &Tree, known: &Known, problems: &mut Problems) {
    let foreign: Vec<_> = known.sections.iter().map(|schema| schema.name).collect();
    let all: Vec<_> = OWN_SECTIONS.iter().chain(&foreign).copied().collect();
    for name in tree.resolved.as_dict().into_iter().flat_map(|sections| sections.keys()) {
        if !all.contains(&name.as_str()) {
            let text = format!("unknown section; {}", suggestion(name, &all));
            problems.push(tree.problem(Key::new([name]), text));
        }
    }
    for schema in &known.sections {
        let key = Key::new([schema.name]);
        let section = if schema.is_list() { Section::list_at(tree, key) } else { Section::at(tree, key) };
        schema.check(&section, problems);
    }
}

fn read_listeners(tree: &Tree, known: &Known, problems: &mut Problems) -> Vec<Listener> {
    let protocols: Vec<_> = known.protocols.iter().map(|(name, _)| *name).collect();
    let mut listeners = Vec::new();
    let key = Key::new(["listener"]);
    let Some(Value::Dict(_, named)) = key.find(&tree.resolved) else {
        problems.push(tree.problem(key, "is not a table; write [listener.NAME]"));
        return listeners;
    };
    for name in named.keys() {
        let key = key.child(name);
        let Some(listener) = Section::at(tree, key.clone()).read::<Listener>(problems) else { continue };
        if !protocols.contains(&listener.protocol.as_str()) {
            let near = suggestion(&listener.protocol, &protocols);
            let text = format!("{:?} is not a protocol; {near}", listener.protocol);
            problems.push(tree.problem(key.child("protocol"), text));
        }
        let carrier = known.protocols.iter().find(|(name, _)| *name == listener.protocol);
        let is_stream = carrier.is_none_or(|(_, carrier)| *carrier == Carrier::Stream);
        check_carrier(tree, &key, &listener, is_stream, problems);
        let tls = listener.tls.map(|tls| seen_from_its_file(tree, &key.child("tls"), tls));
        listeners.push(Listener { name: name.clone(), tls, ..listener });
    }
    listeners
}

/// Finds keys that contradict each other, or that need a stream where datagrams are spoken.
fn check_carrier(tree: &Tree, key: &Key, listener: &Listener, is_stream: bool, problems: &mut Problems) {
    let mut wrong = |key: Key, text: &str| problems.push(tree.problem(key, text));
    if let Some((name, text)) = listener.tls.as_ref().and_then(ListenerTls::contradiction) {
        wrong(key.child("tls").child(name), text);
    }
    if is_stream {
        return;
    }
    let over_datagrams = format!("cannot be used: {} travels in datagrams", listener.protocol);
    if listener.tls.is_some() {
        wrong(key.child("tls"), &over_datagrams);
    }
    if !listener.trusted_proxies.is_empty() {
        wrong(key.child("trusted_proxies"), &over_datagrams);
    }
    if listener.proxy_protocol != ProxyProtocol::Off {
        wrong(key.child("proxy_protocol"), &over_datagrams);
    }
    if listener.mountpoint.is_some() {
        let text = format!("there are mount points for MQTT only, not for {}", listener.protocol);
        wrong(key.child("mountpoint"), &text);
    }
    if matches!(listener.bind, Bind::Unix(_)) {
        wrong(
            key.child("bind"),
            &format!("is a Unix socket, but {} travels in datagrams", listener.protocol),
        );
    }
}

/// Relative paths are seen from the settings file that names them.
fn seen_from_its_file(tree: &Tree, key: &Key, tls: ListenerTls) -> ListenerTls {
    let seen = |name: &str, path: PathBuf| tree.base(&key.child(name)).join(path);
    ListenerTls {
        cert_file: seen("cert_file", tls.cert_file),
        key_file: seen("key_file", tls.key_file),
        client_ca_file: tls.client_ca_file.map(|path| seen("client_ca_file", path)),
        ..tls
    }
}

fn read_bridges(tree: &Tree, known: &Known, problems: &mut Problems) -> Vec<BridgeEntry> {
    let kinds: Vec<_> = known.bridges.iter().map(|schema| schema.name).collect();
    let list = Key::new(["bridge"]);
    let count = match list.find(&tree.resolved) {
        None => 0,
        Some(Value::Array(_, items)) => items.len(),
        Some(_) => {
            problems.push(tree.problem(list, "is not a list; write [[bridge]] with a name in it"));
            return Vec::new();
        }
    };
    let mut bridges: Vec<BridgeEntry> = Vec::new();
    for index in 0..count {
        let key = list.child(index.to_string());
        let common = Section::at(tree, key.clone()).only(BridgeKeys::NAMES).read::<BridgeKeys>(problems);
        // The kind's keys are judged even if the common ones are wrong, as far as the kind is known.
        let kind = key.child("kind").find(&tree.resolved).and_then(Value::as_str).unwrap_or_default();
        match known.bridges.iter().find(|schema| schema.name == kind) {
            Some(schema) => check_kind(tree, &key, schema, problems),
            None if kind.is_empty() => {}
            None => {
                let text = format!("{kind:?} is not a kind of bridge; {}", suggestion(kind, &kinds));
                problems.push(tree.problem(key.child("kind"), text));
            }
        }
        let Some(keys) = common else { continue };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if keys.name.is_empty() || !keys.name.bytes().all(legal) {
            let text = format!("{:?} is not a name of letters, digits, - and _", keys.name);
            problems.push(tree.problem(key.child("name"), text));
        }
        if bridges.iter().any(|other| other.name == keys.name) {
            let text = format!("{:?} is the name of another bridge", keys.name);
            problems.push(tree.problem(key.child("name"), text));
        }
        bridges.push(BridgeEntry::new(keys, key, tree.clone()));
    }
    bridges
}

fn check_kind(tree: &Tree, key: &Key, schema: &Schema, problems: &mut Problems) {
    let ours = BridgeKeys::names_beside(schema.fields());
    schema.check(&Section::at(tree, key.clone()).without(ours), problems);
}

/// Finds two enabled listeners that want the same address on the same carrier.
fn check_addresses(settings: &Settings, known: &Known, problems: &mut Problems) {
    let mut taken: Vec<(Key, Carrier, Bind)> = Vec::new();
    if settings.admin.enabled {
        taken.push((Key::new(["admin", "bind"]), Carrier::Stream, settings.admin.bind.into()));
    }
    for listener in settings.listeners.iter().filter(|listener| listener.enabled) {
        let Some((_, carrier)) = known.protocols.iter().find(|(name, _)| *name == listener.protocol) else {
            continue;
        };
        let key = Key::new(["listener", &listener.name, "bind"]);
        let clash = taken.iter().find(|(_, other, bind)| other == carrier && bind.overlaps(&listener.bind));
        if let Some((other, ..)) = clash {
            let text = format!("{} is taken by {other} ({})", listener.bind, settings.origin(other));
            problems.push(settings.tree.problem(key.clone(), text));
        }
        taken.push((key, *carrier, listener.bind.clone()));
    }
}
