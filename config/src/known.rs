use serde::de::DeserializeOwned;

use crate::section::Section;
use crate::{Key, Problems};

/// What the composing program knows and this crate does not: the adapters' own settings.
pub struct Known {
    /// Top-level sections beyond this crate's own: `access`, `mqtt`, `coap`, ...
    pub sections: Vec<Schema>,
    /// What `listener.*.protocol` may say.
    pub protocols: Vec<(&'static str, Carrier)>,
    /// What `bridge.kind` may say; the schema is of the keys that only this kind has.
    pub bridges: Vec<Schema>,
}

/// What a protocol runs on. Listeners on different carriers may share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

type Check = dyn Fn(&Section<'_>, &mut Problems) + Send + Sync;

/// A named section and the type that says what may stand in it.
pub struct Schema {
    pub name: &'static str,
    check: Box<Check>,
    fields: &'static [&'static str],
    is_list: bool,
}

impl Schema {
    /// A section that is right if it deserializes as `T`.
    ///
    /// `T` should be `#[serde(deny_unknown_fields, default)]`, or mistyped keys pass unseen.
    pub fn of<T: DeserializeOwned + 'static>(name: &'static str) -> Self {
        Self::checked::<T>(name, |_| Ok(()))
    }

    /// A section that must also satisfy `check`; an error names the key (relative to the section,
    /// or empty) and says what is wrong.
    pub fn checked<T: DeserializeOwned + 'static>(
        name: &'static str,
        check: impl Fn(&T) -> Result<(), (String, String)> + Send + Sync + 'static,
    ) -> Self {
        Self { name, check: judge(check), fields: fields::<T>(), is_list: false }
    }

    /// A section that is a list, written `[[name]]`; an absent one is empty. The key of an error
    /// begins with the index.
    pub fn list<T: DeserializeOwned + 'static>(
        name: &'static str,
        check: impl Fn(&[T]) -> Result<(), (String, String)> + Send + Sync + 'static,
    ) -> Self {
        Self { name, check: judge(move |list: &Vec<T>| check(list)), fields: fields::<T>(), is_list: true }
    }

    /// The names of the keys of this section, or of each of its elements.
    pub fn fields(&self) -> &'static [&'static str] {
        self.fields
    }

    pub(crate) fn is_list(&self) -> bool {
        self.is_list
    }

    pub(crate) fn check(&self, section: &Section<'_>, problems: &mut Problems) {
        (self.check)(section, problems);
    }
}

fn judge<T: DeserializeOwned + 'static>(
    check: impl Fn(&T) -> Result<(), (String, String)> + Send + Sync + 'static,
) -> Box<Check> {
    Box::new(move |section: &Section<'_>, problems: &mut Problems| {
        let Some(settings) = section.read::<T>(problems) else { return };
        if let Err((key, text)) = check(&settings) {
            let segments: Vec<_> = key.split('.').filter(|segment| !segment.is_empty()).collect();
            problems.push(section.problem(&Key::new(segments), text));
        }
    })
}

/// The names of the fields of a `deny_unknown_fields` struct; empty for any other type.
///
/// Serde tells them to whoever asks for a field that cannot exist.
pub fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    use figment::value::{Dict, Value};
    let question = Value::from(Dict::from([("\0".to_owned(), Value::from(0))]));
    match question.deserialize::<T>().map_err(|error| error.kind) {
        Err(figment::error::Kind::UnknownField(_, fields)) => fields,
        _ => &[],
    }
}
