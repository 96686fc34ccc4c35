use std::fmt;

use figment::value::Value;

/// Where a value stands in the tree of settings: `listener.mqtt.bind`, `bridge[0].topics`.
///
/// Elements of a list are named by their decimal index.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Vec<String>);

impl Key {
    /// The key with these segments; `["bridge", "0", "topics"]` is `bridge[0].topics`.
    pub fn new<S: Into<String>>(segments: impl IntoIterator<Item = S>) -> Self {
        Self(segments.into_iter().map(Into::into).collect())
    }

    pub fn segments(&self) -> &[String] {
        &self.0
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last segment that is a name: what says of a list's element what it is.
    pub fn leaf_name(&self) -> &str {
        self.0.iter().rev().find(|segment| !is_index(segment)).map_or("", String::as_str)
    }

    pub fn child(&self, segment: impl Into<String>) -> Self {
        let mut child = self.clone();
        child.0.push(segment.into());
        child
    }

    pub fn join<S: AsRef<str>>(&self, segments: &[S]) -> Self {
        let more = segments.iter().map(|segment| segment.as_ref().to_owned());
        Self(self.0.iter().cloned().chain(more).collect())
    }

    pub fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }

    /// The value at this key under `root`, and how many segments lead to the deepest value there is.
    pub(crate) fn deepest<'v>(&self, root: &'v Value) -> (&'v Value, usize) {
        let mut value = root;
        for (depth, segment) in self.0.iter().enumerate() {
            match child(value, segment) {
                Some(found) => value = found,
                None => return (value, depth),
            }
        }
        (value, self.0.len())
    }

    pub(crate) fn find<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        let (value, depth) = self.deepest(root);
        (depth == self.0.len()).then_some(value)
    }

    /// Removes the value at this key; false if there is none, or if it is an element of a list.
    pub(crate) fn remove(&self, root: &mut Value) -> bool {
        let Some((last, parents)) = self.0.split_last() else { return false };
        let mut value = root;
        for segment in parents {
            match child_mut(value, segment) {
                Some(found) => value = found,
                None => return false,
            }
        }
        match value {
            Value::Dict(_, dict) => dict.remove(last).is_some(),
            _ => false,
        }
    }

    /// Puts `leaf` at this key, making the tables on the way; a list's element must exist.
    pub(crate) fn graft(&self, root: &mut Value, leaf: Value) {
        let mut value = root;
        for segment in &self.0 {
            if !matches!(value, Value::Dict(..) | Value::Array(..)) {
                *value = Value::from(figment::value::Dict::new());
            }
            value = match value {
                Value::Dict(_, dict) => {
                    dict.entry(segment.clone()).or_insert_with(|| Value::from(figment::value::Dict::new()))
                }
                Value::Array(_, items) => {
                    match segment.parse::<usize>().ok().and_then(|at| items.get_mut(at)) {
                        Some(item) => item,
                        None => return,
                    }
                }
                _ => return,
            };
        }
        *value = leaf;
    }
}

fn child<'v>(value: &'v Value, segment: &str) -> Option<&'v Value> {
    match value {
        Value::Dict(_, dict) => dict.get(segment),
        Value::Array(_, items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    }
}

fn child_mut<'v>(value: &'v mut Value, segment: &str) -> Option<&'v mut Value> {
    match value {
        Value::Dict(_, dict) => dict.get_mut(segment),
        Value::Array(_, items) => items.get_mut(segment.parse::<usize>().ok()?),
        _ => None,
    }
}

fn is_index(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match (position, is_index(segment)) {
                (0, _) => f.write_str(segment)?,
                (_, true) => write!(f, "[{segment}]")?,
                (_, false) if !is_bare(segment) => write!(f, ".{segment:?}")?,
                (_, false) => write!(f, ".{segment}")?,
            }
        }
        Ok(())
    }
}

/// Whether TOML takes it as a key without quotes.
fn is_bare(segment: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !segment.is_empty() && segment.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_as_they_are_written() {
        assert_eq!(Key::new(["bridge", "0", "topics"]).to_string(), "bridge[0].topics");
        assert_eq!(Key::new(["bridge", "0", "topics", "1"]).leaf_name(), "topics");
        assert_eq!(Key::new(["session", "a-b", "alarms/#"]).to_string(), "session.a-b.\"alarms/#\"");
        assert_eq!(Key::default().to_string(), "");
    }

    #[test]
    fn a_graft_makes_the_tables_on_its_way_and_a_removal_undoes_it() {
        let mut root = Value::from(figment::value::Dict::new());
        let key = Key::new(["a", "b", "c"]);
        key.graft(&mut root, Value::from(1));
        assert_eq!(key.find(&root), Some(&Value::from(1)));
        assert_eq!(Key::new(["a", "x"]).deepest(&root).1, 1);
        assert!(key.remove(&mut root) && !key.remove(&mut root));
        assert_eq!(key.find(&root), None);
    }
}
