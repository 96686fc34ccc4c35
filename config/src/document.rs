use std::collections::BTreeMap;

use figment::value::{Dict, Value};
use toml_edit::{ImDocument, Item};

use crate::Key;

/// A TOML text as values, with the line on which each key stands.
pub(crate) struct Document {
    pub values: Dict,
    /// Lines count from 1.
    pub lines: BTreeMap<Key, usize>,
}

/// Why a text is not TOML.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub text: String,
}

impl Document {
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let document = ImDocument::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.get(..at).unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |end| end + 1);
            SyntaxError {
                line: line_at(text, at),
                column: before[line_start..].chars().count() + 1,
                text: error.message().lines().collect::<Vec<_>>().join("; "),
            }
        })?;
        let mut walk = Walk { text, lines: BTreeMap::new() };
        let mut values = Dict::new();
        for (name, item) in document.iter() {
            let span = document.key(name).and_then(|key| key.span());
            walk.entry(&Key::new([name]), span.map(|span| span.start), item, name, &mut values);
        }
        Ok(Self { values, lines: walk.lines })
    }
}

struct Walk<'t> {
    text: &'t str,
    lines: BTreeMap<Key, usize>,
}

impl Walk<'_> {
    /// Puts one key of a table into `values`; `at` is the byte at which the key begins.
    fn entry(&mut self, key: &Key, at: Option<usize>, item: &Item, name: &str, values: &mut Dict) {
        // The header of a table says more than the place where a dotted key first named it.
        let header = match item {
            Item::Table(table) => table.span().map(|span| span.start),
            _ => None,
        };
        if let Some(at) = header.or(at) {
            self.lines.insert(key.clone(), line_at(self.text, at));
        }
        if let Some(value) = self.item(key, item) {
            values.insert(name.to_owned(), value);
        }
    }

    fn item(&mut self, key: &Key, item: &Item) -> Option<Value> {
        match item {
            Item::None => None,
            Item::Value(value) => Some(self.value(key, value)),
            Item::Table(table) => Some(self.table(key, table)),
            Item::ArrayOfTables(tables) => {
                let mut items = Vec::new();
                for (index, table) in tables.iter().enumerate() {
                    let key = key.child(index.to_string());
                    if let Some(span) = table.span() {
                        self.lines.insert(key.clone(), line_at(self.text, span.start));
                    }
                    items.push(self.table(&key, table));
                }
                Some(Value::from(items))
            }
        }
    }

    fn table(&mut self, key: &Key, table: &toml_edit::Table) -> Value {
        let mut values = Dict::new();
        for (name, item) in table.iter() {
            let at = table.key(name).and_then(|key| key.span()).map(|span| span.start);
            self.entry(&key.child(name), at, item, name, &mut values);
        }
        Value::from(values)
    }

    fn value(&mut self, key: &Key, value: &toml_edit::Value) -> Value {
        match value {
            toml_edit::Value::String(text) => Value::from(text.value().as_str()),
            toml_edit::Value::Integer(number) => Value::from(*number.value()),
            toml_edit::Value::Float(number) => Value::from(*number.value()),
            toml_edit::Value::Boolean(truth) => Value::from(*truth.value()),
            toml_edit::Value::Datetime(moment) => Value::from(moment.value().to_string()),
            toml_edit::Value::Array(array) => {
                let mut items = Vec::new();
                for (index, item) in array.iter().enumerate() {
                    let key = key.child(index.to_string());
                    if let Some(span) = item.span() {
                        self.lines.insert(key.clone(), line_at(self.text, span.start));
                    }
                    items.push(self.value(&key, item));
                }
                Value::from(items)
            }
            toml_edit::Value::InlineTable(table) => {
                let mut values = Dict::new();
                for (name, item) in table.iter() {
                    let key = key.child(name);
                    if let Some(span) = table.key(name).and_then(|key| key.span()) {
                        self.lines.insert(key.clone(), line_at(self.text, span.start));
                    }
                    let item = self.value(&key, item);
                    values.insert(name.to_owned(), item);
                }
                Value::from(values)
            }
        }
    }
}

fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_its_line() {
        let text = "# first\n[node]\nname = \"x\"\n\n[[bridge]]\nname = \"a\"\n[[bridge]]\ntopics = [\n  \"t\",\n  \"u\"]\nq = { a = 1 }\nx.y = 2\n";
        let document = Document::parse(text).unwrap();
        let line = |segments: &[&str]| document.lines.get(&Key::new(segments.iter().copied())).copied();
        assert_eq!(line(&["node"]), Some(2));
        assert_eq!(line(&["node", "name"]), Some(3));
        assert_eq!(line(&["bridge", "0"]), Some(5));
        assert_eq!(line(&["bridge", "1"]), Some(7));
        assert_eq!(line(&["bridge", "1", "topics", "1"]), Some(10));
        assert_eq!(line(&["bridge", "1", "q", "a"]), Some(11));
        assert_eq!(line(&["bridge", "1", "x", "y"]), Some(12));
        let bridges = document.values["bridge"].as_array().unwrap();
        assert_eq!(bridges[1].find_ref("x.y"), Some(&Value::from(2i64)));
    }

    #[test]
    fn a_syntax_error_has_line_and_column() {
        let error = Document::parse("[node]\nname = \n").err().unwrap();
        assert_eq!((error.line, error.column), (2, 8), "{error:?}");
        let error = Document::parse("[node]\nname = 1\nname = 2\n").err().unwrap();
        assert_eq!(error.line, 3, "{error:?}");
    }
}
