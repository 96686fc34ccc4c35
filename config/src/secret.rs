use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::Value;
use serde::Deserialize;

use crate::Key;

/// What stands where a secret would be printed.
pub const MASK: &str = "****";

/// A text that is never printed. Deserializes from a plain string; `file://` references have been
/// read by then.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for comparing and sending, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl serde::Serialize for Secret {
    /// Serializes as the mask: a secret leaves the process only where it is meant to.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// Whether a key's value is a secret, told by the last word of its name: `sasl_password`,
/// `sasl.password`, `hmac-secret`; and of headers those that are one by custom.
pub fn is_secret(key: &Key) -> bool {
    let name = key.leaf_name().to_ascii_lowercase();
    if matches!(name.replace('_', "-").as_str(), "cookie" | "api-key" | "x-api-key") {
        return true;
    }
    let last_word = name.rsplit(['_', '.', '-']).next().unwrap_or_default();
    matches!(last_word, "password" | "secret" | "passphrase" | "token" | "authorization")
}

/// Text that stands for another key's contents: `file:///run/secrets/mqtt`.
pub(crate) fn file_reference(text: &str) -> Option<PathBuf> {
    text.strip_prefix("file://").map(PathBuf::from)
}

/// Reads what a reference points to, without the newline that editors and `echo` leave at the end.
/// A relative path is seen from `base`.
pub(crate) fn read_reference(path: &Path, base: &Path) -> Result<String, String> {
    let path = base.join(path);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("cannot read the secret from {}: {error}", path.display()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// A value as it may be shown to people: TOML, with secrets and passwords in addresses masked.
pub fn shown(key: &Key, value: &Value) -> String {
    match value {
        Value::String(_, text) if is_secret(key) && !text.is_empty() && file_reference(text).is_none() => {
            format!("\"{MASK}\"")
        }
        Value::String(_, text) => format!("{:?}", without_userinfo(text)),
        Value::Char(_, character) => format!("\"{character}\""),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(..) => number(value),
        Value::Empty(..) => "\"\"".to_owned(),
        Value::Array(_, items) => {
            let items: Vec<_> =
                items.iter().enumerate().map(|(at, item)| shown(&key.child(at.to_string()), item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Dict(_, dict) => {
            let entries: Vec<_> = dict
                .iter()
                .map(|(name, item)| format!("{} = {}", bare_or_quoted(name), shown(&key.child(name), item)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

fn number(value: &Value) -> String {
    match (value.to_u128(), value.to_i128(), value.to_f64()) {
        (Some(number), ..) => number.to_string(),
        (_, Some(number), _) => number.to_string(),
        (.., Some(number)) => format!("{number:?}"),
        _ => String::new(),
    }
}

fn bare_or_quoted(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { format!("{name:?}") }
}

/// `https://user:word@host/` without the word.
fn without_userinfo(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    match authority.rsplit_once('@').map(|(user, host)| (user.split_once(':'), host)) {
        Some((Some((user, _)), host)) => format!("{scheme}://{user}:{MASK}@{host}{path}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in
            ["password", "sasl_password", "sasl.password", "hmac-secret", "Authorization", "X-Api-Key"]
        {
            assert!(is_secret(&Key::new(["bridge", "0", name])), "{name}");
        }
        for name in ["password_file", "username", "secretary", "topics"] {
            assert!(!is_secret(&Key::new(["bridge", "0", name])), "{name}");
        }
    }

    #[test]
    fn secrets_are_never_shown() {
        let key = Key::new(["a", "password"]);
        assert_eq!(shown(&key, &Value::from("x")), "\"****\"");
        assert_eq!(shown(&key, &Value::from("file:///run/x")), "\"file:///run/x\"");
        let url = Value::from("http://me:word@host:80/p?a@b");
        assert_eq!(shown(&Key::new(["url"]), &url), "\"http://me:****@host:80/p?a@b\"");
        assert_eq!(format!("{:?}", Secret::new("x")), "****");
    }
}
