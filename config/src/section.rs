use figment::error::{Actual, Error, Kind};
use figment::value::Value;
use serde::de::DeserializeOwned;

use crate::secret::{MASK, is_secret, shown};
use crate::tree::Tree;
use crate::{Key, Problem, Problems};

/// One table of the tree, to be read into a struct.
pub(crate) struct Section<'t> {
    tree: &'t Tree,
    key: Key,
    value: Value,
    /// Keys that are read elsewhere: right, but not this struct's. For better suggestions.
    elsewhere: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// The table at `key`; an absent one reads as empty.
    pub fn at(tree: &'t Tree, key: Key) -> Self {
        Self::or(tree, key, Value::from(figment::value::Dict::new()))
    }

    /// The list at `key`; an absent one reads as empty.
    pub fn list_at(tree: &'t Tree, key: Key) -> Self {
        Self::or(tree, key, Value::from(Vec::<Value>::new()))
    }

    fn or(tree: &'t Tree, key: Key, absent: Value) -> Self {
        let value = key.find(&tree.resolved).cloned().unwrap_or(absent);
        Self { tree, key, value, elsewhere: Vec::new() }
    }

    /// Leaves `names` to another reader.
    pub fn without(mut self, names: Vec<&'static str>) -> Self {
        self.retain(|name| !names.contains(&name));
        self.elsewhere = names;
        self
    }

    /// Leaves everything but `names` to another reader, which reports what is unknown.
    pub fn only(mut self, names: &'static [&'static str]) -> Self {
        self.retain(|name| names.contains(&name));
        self
    }

    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        if let Value::Dict(_, dict) = &mut self.value {
            dict.retain(|name, _| keep(name));
        }
    }

    /// A problem with the key `relative` of this section.
    pub fn problem(&self, relative: &Key, text: impl Into<String>) -> Problem {
        self.tree.problem(self.key.join(relative.segments()), text)
    }

    /// Reads the section, or reports everything that is wrong with it.
    ///
    /// Serde stops at the first mistake: so the mistake is reported, cut out, and the rest is read
    /// again.
    pub fn read<T: DeserializeOwned>(&self, problems: &mut Problems) -> Option<T> {
        let mut value = self.value.clone();
        let mut cut: Vec<Key> = Vec::new();
        loop {
            let error = match T::deserialize(&value) {
                Ok(read) => return cut.is_empty().then_some(read),
                Err(error) => error,
            };
            let relative = relative_key(&error);
            // A required key that was cut out is missing because it was wrong.
            if !cut.contains(&relative) {
                problems.push(self.explain(&relative, &value, &error.kind));
            }
            if relative.is_root() || !cut_out(&mut value, &relative) {
                return None;
            }
            cut.push(relative);
        }
    }

    fn explain(&self, relative: &Key, value: &Value, kind: &Kind) -> Problem {
        let key = self.key.join(relative.segments());
        let secret = is_secret(&key);
        let found = relative.find(value).map(|value| shown(&key, value));
        let text = match kind {
            Kind::UnknownField(name, fields) => {
                let all: Vec<&str> = fields.iter().chain(&self.elsewhere).copied().collect();
                format!("unknown key; {}", suggestion(name, &all))
            }
            Kind::UnknownVariant(name, variants) => format!("{name:?}: {}", suggestion(name, variants)),
            Kind::MissingField(_) => "is missing".to_owned(),
            Kind::InvalidType(..) | Kind::InvalidValue(..) if secret => {
                format!("{MASK} is not {}", expected_words(kind))
            }
            Kind::InvalidType(actual, _) | Kind::InvalidValue(actual, _) => {
                let found = found.unwrap_or_else(|| actual_words(actual));
                format!("{found} is not {}", expected_words(kind))
            }
            Kind::Message(text) if secret => text.replace(found.as_deref().unwrap_or("\0"), MASK),
            Kind::Message(text) => match found {
                Some(found) if text.starts_with("is ") => format!("{found} {text}"),
                Some(found) if !text.contains(&found) => format!("{found}: {text}"),
                _ => text.clone(),
            },
            other => other.to_string(),
        };
        self.tree.problem(key, text)
    }
}

/// `did you mean "x"?`, or what there is if nothing is near.
pub(crate) fn suggestion(name: &str, known: &[&str]) -> String {
    // One edit in three characters is a slip; more is another word.
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&name.to_ascii_lowercase(), known), *known))
        .filter(|(distance, known)| *distance <= known.len().max(name.len()).div_ceil(3))
        .min();
    match near {
        Some((_, near)) => format!("did you mean {near:?}?"),
        None if known.is_empty() => "there are none".to_owned(),
        None => {
            let known: Vec<_> = known.iter().map(|known| format!("{known:?}")).collect();
            format!("known: {}", known.join(", "))
        }
    }
}

fn relative_key(error: &Error) -> Key {
    let path = Key::new(error.path.iter().cloned());
    match &error.kind {
        // Figment puts the field's name into the path already where it read it as a key.
        Kind::UnknownField(name, _) if path.segments().last() != Some(name) => path.child(name),
        Kind::MissingField(name) => path.child(name.as_ref()),
        _ => path,
    }
}

/// Takes a wrong value out; of a list's element, the whole list.
fn cut_out(value: &mut Value, key: &Key) -> bool {
    let mut key = key.clone();
    while !key.is_root() {
        if key.find(value).is_some() && key.remove(value) {
            return true;
        }
        match key.parent() {
            Some(parent) if parent.find(value).is_none_or(|around| around.as_array().is_some()) => {
                key = parent
            }
            _ => return false,
        }
    }
    false
}

fn expected_words(kind: &Kind) -> String {
    let (Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected)) = kind else {
        return String::new();
    };
    match expected.as_str() {
        "a string" => "a text; put it in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list, such as [\"a\", \"b\"]".to_owned(),
        "u8" => whole_number(u8::MAX.into()),
        "u16" => whole_number(u16::MAX.into()),
        "u32" => whole_number(u32::MAX.into()),
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "a nonzero u16" => "a whole number from 1 to 65535".to_owned(),
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => "a whole number from 1".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        "a map" => "a table".to_owned(),
        other => other.to_owned(),
    }
}

fn whole_number(most: u64) -> String {
    format!("a whole number from 0 to {most}")
}

fn actual_words(actual: &Actual) -> String {
    actual.to_string()
}
