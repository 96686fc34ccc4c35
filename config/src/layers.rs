use std::collections::BTreeMap;
use std::path::Path;

use figment::value::Value;

use crate::document::Document;
use crate::secret::is_secret;
use crate::tree::Tree;
use crate::{Key, Known, Origin, Problem, Problems, Settings};

/// What the names of our environment variables begin with: `TIDEGATE__NODE__NAME`.
///
/// Two underscores, because Kubernetes puts variables of its own (`TIDEGATE_SERVICE_HOST`) into
/// every container beside a service named `tidegate`.
pub const ENVIRONMENT_PREFIX: &str = "TIDEGATE__";

/// The annotated default settings, embedded in the program and packaged beside it.
pub const DEFAULT_TEXT: &str = include_str!("../tidegate.toml");

/// Collects the layers of settings, the weakest first; [`Layers::load`] judges them all together.
///
/// Call in the order: file, environment, `--set`. What is wrong in a layer is kept until `load`.
pub struct Layers {
    tree: Tree,
    problems: Problems,
}

impl Default for Layers {
    fn default() -> Self {
        Self::new()
    }
}

impl Layers {
    /// The embedded defaults.
    pub fn new() -> Self {
        let defaults = Document::parse(DEFAULT_TEXT).expect("the embedded tidegate.toml is TOML");
        let mut tree = Tree::new();
        tree.merge(Origin::Default, BTreeMap::new(), defaults.values);
        Self { tree, problems: Problems::default() }
    }

    pub fn file(self, path: &Path) -> Self {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(path, &text),
            Err(error) => {
                let origin = Origin::File { path: path.to_owned(), line: None };
                self.broken(origin, Key::default(), format!("cannot read the settings: {error}"))
            }
        }
    }

    /// A file's text, as if it had been read from `path`.
    pub fn text(mut self, path: &Path, text: &str) -> Self {
        match Document::parse(text) {
            Ok(document) => {
                let origin = Origin::File { path: path.to_owned(), line: None };
                self.tree.merge(origin, document.lines, document.values);
                self
            }
            Err(error) => {
                let origin = Origin::File { path: path.to_owned(), line: Some(error.line) };
                self.broken(origin, Key::default(), format!("column {}: {}", error.column, error.text))
            }
        }
    }

    /// Takes the variables that begin with [`ENVIRONMENT_PREFIX`]; `__` separates segments, case
    /// does not matter, and `_` also stands for `-`. Values are typed by what they replace.
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut ours: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, value)| {
                let path = name.strip_prefix(ENVIRONMENT_PREFIX)?.to_ascii_lowercase();
                Some((name, path, value))
            })
            .collect();
        ours.sort();
        for (name, path, value) in ours {
            let segments: Vec<_> = path.split("__").collect();
            self = self.assign(Origin::Environment(name.clone()), &segments, &value);
        }
        self
    }

    /// One `--set a.b=c`.
    pub fn set(self, assignment: &str) -> Self {
        match assignment.split_once('=') {
            Some((path, value)) => {
                let path = path.trim();
                self.argument(&format!("--set {path}"), path, value.trim())
            }
            None => {
                let origin = Origin::Argument(format!("--set {assignment}"));
                self.broken(origin, Key::default(), "expected key=value, such as node.name=shed")
            }
        }
    }

    /// An argument with a name of its own that stands for a key: `--data` for `node.data_dir`.
    pub fn argument(self, argument: &str, key: &str, value: &str) -> Self {
        let segments: Vec<_> = key.split('.').collect();
        self.assign(Origin::Argument(argument.to_owned()), &segments, value)
    }

    /// Judges everything; the error holds all that is wrong, not only the first.
    pub fn load(mut self, known: &Known) -> Result<Settings, Problems> {
        self.tree.resolve_secrets(&mut self.problems);
        Settings::read(self.tree, known, self.problems)
    }

    fn assign(mut self, origin: Origin, segments: &[&str], raw: &str) -> Self {
        if segments.iter().any(|segment| segment.is_empty()) {
            return self.broken(origin, Key::default(), "a segment of the key is empty");
        }
        let key = existing_names(self.tree.written(), segments);
        let value = typed(&key, raw, key.find(self.tree.written()));
        let mut root = self.tree.written().clone();
        if key.find(&root).is_some_and(|value| value.as_dict().is_some()) && value.as_dict().is_none() {
            return self.broken(origin, key, "is a table; name one of its keys");
        }
        // Values that stay keep their tags, so only the new one gets this layer as its origin.
        key.graft(&mut root, value);
        if key.find(&root).is_none() {
            return self.broken(origin, key, "the list has no such element");
        }
        self.tree.merge(origin, BTreeMap::new(), root.into_dict().unwrap_or_default());
        self
    }

    fn broken(mut self, origin: Origin, key: Key, text: impl Into<String>) -> Self {
        self.problems.push(Problem { origin, key, text: text.into() });
        self
    }
}

/// The key that loosely written segments mean: `MQTT_WS` is `mqtt-ws` if that is what there is,
/// and an element of a list may be called by its `name`.
fn existing_names(root: &Value, segments: &[&str]) -> Key {
    let mut key = Key::default();
    for segment in segments {
        let name = match key.find(root) {
            Some(Value::Dict(_, dict)) if !dict.contains_key(*segment) => {
                dict.keys().find(|name| is_loosely(name, segment)).cloned()
            }
            Some(Value::Array(_, items)) if segment.parse::<usize>().is_err() => items
                .iter()
                .position(|item| {
                    let name = item.find_ref("name").and_then(Value::as_str);
                    name.is_some_and(|name| is_loosely(name, segment))
                })
                .map(|index| index.to_string()),
            _ => None,
        };
        key = key.child(name.unwrap_or_else(|| (*segment).to_owned()));
    }
    key
}

fn is_loosely(name: &str, segment: &str) -> bool {
    let fold = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    fold(name) == fold(segment)
}

/// Parses a value by the type of what it replaces; a secret is always text.
fn typed(key: &Key, raw: &str, replaced: Option<&Value>) -> Value {
    match replaced {
        _ if is_secret(key) => Value::from(raw),
        Some(Value::String(..)) => Value::from(raw),
        _ => match raw.parse() {
            Ok(Value::Char(_, character)) => Value::from(character.to_string()),
            Ok(value) => value,
            Err(never) => match never {},
        },
    }
}
