use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use crate::secret::{file_reference, is_secret, read_reference};
use crate::{Key, Origin, Problem, Problems};

/// The merged values and where each of them came from.
///
/// Every value carries figment's tag, the tag leads to its layer, the layer knows its lines.
#[derive(Clone)]
pub(crate) struct Tree {
    figment: Figment,
    layers: Vec<Layer>,
    /// As written: references to secrets are not resolved.
    written: Value,
    /// As used: references to secrets are resolved.
    pub resolved: Value,
}

#[derive(Clone)]
struct Layer {
    origin: Origin,
    lines: BTreeMap<Key, usize>,
}

impl Tree {
    pub fn new() -> Self {
        let empty = Value::from(Dict::new());
        Self { figment: Figment::new(), layers: Vec::new(), written: empty.clone(), resolved: empty }
    }

    /// Lays `values` over what is there: tables are merged, everything else is replaced.
    pub fn merge(&mut self, origin: Origin, lines: BTreeMap<Key, usize>, values: Dict) {
        let provider = Values { layer: self.layers.len(), values };
        self.layers.push(Layer { origin, lines });
        self.figment = std::mem::take(&mut self.figment).merge(provider);
        // An empty path is the whole; values that merge cannot fail.
        self.written = self.figment.find_value("").unwrap_or_else(|_| Value::from(Dict::new()));
        self.resolved = self.written.clone();
    }

    pub fn written(&self) -> &Value {
        &self.written
    }

    /// Where the value at `key`, or the nearest table around it, was written.
    pub fn origin(&self, key: &Key) -> Origin {
        let (value, depth) = key.deepest(&self.written);
        let layer = self.figment.get_metadata(value.tag()).and_then(|metadata| {
            let index: usize = metadata.source.as_ref()?.custom()?.parse().ok()?;
            self.layers.get(index)
        });
        // Without a layer it is a table that several layers share: the last one that names it.
        let Some(layer) =
            layer.or_else(|| self.layers.iter().rev().find(|layer| layer.lines.contains_key(key)))
        else {
            return Origin::Default;
        };
        match &layer.origin {
            Origin::File { path, .. } => {
                let lookup = |length: usize| layer.lines.get(&Key::new(key.segments()[..length].to_vec()));
                let line = (1..=depth).rev().find_map(lookup).copied();
                Origin::File { path: path.clone(), line }
            }
            other => other.clone(),
        }
    }

    pub fn problem(&self, key: Key, text: impl Into<String>) -> Problem {
        Problem { origin: self.origin(&key), key, text: text.into() }
    }

    /// The folder from which a relative path at `key` is seen: that of the settings file.
    pub fn base(&self, key: &Key) -> PathBuf {
        match self.origin(key) {
            Origin::File { path, .. } => path.parent().map(Path::to_path_buf).unwrap_or_default(),
            _ => PathBuf::new(),
        }
    }

    /// Replaces `file://` in secrets by what the files hold.
    pub fn resolve_secrets(&mut self, problems: &mut Problems) {
        let mut found = Vec::new();
        references(&self.written, &Key::default(), &mut found);
        for (key, path) in found {
            match read_reference(&path, &self.base(&key)) {
                Ok(secret) => key.graft(&mut self.resolved, Value::from(secret)),
                Err(text) => problems.push(self.problem(key, text)),
            }
        }
    }

    /// Every value that is not a table, in the order of keys, with lists of tables taken apart.
    pub fn leaves(&self) -> Vec<(Key, &Value)> {
        let mut leaves = Vec::new();
        collect_leaves(&self.written, &Key::default(), &mut leaves);
        leaves
    }
}

fn references(value: &Value, key: &Key, found: &mut Vec<(Key, PathBuf)>) {
    match value {
        Value::Dict(_, dict) => {
            for (name, value) in dict {
                references(value, &key.child(name), found);
            }
        }
        Value::Array(_, items) => {
            for (index, item) in items.iter().enumerate() {
                references(item, &key.child(index.to_string()), found);
            }
        }
        Value::String(_, text) if is_secret(key) => {
            found.extend(file_reference(text).map(|path| (key.clone(), path)));
        }
        _ => {}
    }
}

fn collect_leaves<'v>(value: &'v Value, key: &Key, leaves: &mut Vec<(Key, &'v Value)>) {
    match value {
        Value::Dict(_, dict) if !dict.is_empty() || key.is_root() => {
            for (name, value) in dict {
                collect_leaves(value, &key.child(name), leaves);
            }
        }
        Value::Array(_, items) if items.iter().any(|item| item.as_dict().is_some()) => {
            for (index, item) in items.iter().enumerate() {
                collect_leaves(item, &key.child(index.to_string()), leaves);
            }
        }
        leaf => leaves.push((key.clone(), leaf)),
    }
}

/// One layer as figment wants it.
struct Values {
    layer: usize,
    values: Dict,
}

impl Provider for Values {
    fn metadata(&self) -> Metadata {
        Metadata::from("layer", Source::Custom(self.layer.to_string()))
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}
