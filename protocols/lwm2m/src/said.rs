use crate::object_list::ObjectList;
use crate::packed::{Reader, put_text};

/// What a device said about itself in words (OMA LwM2M Core 1.1 section 6.2.1), looked at where it lies
/// packed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Said<'a> {
    /// How it can be reached, in OMA's letters (OMA LwM2M Core 1.1 section 6.2.1.2).
    pub binding: &'a str,
    pub sms: Option<&'a str>,
    pub objects: ObjectList<'a>,
}

/// The same in one piece of memory, as there are a million of them.
///
/// ```text
///   binding: text    SMS number: 0, or 1 and a text    object list
/// ```
#[derive(Clone, PartialEq)]
pub(crate) struct Packed(Box<[u8]>);

impl Said<'_> {
    pub(crate) fn pack(&self) -> Packed {
        let mut into = Vec::with_capacity(64);
        put_text(&mut into, self.binding);
        into.push(u8::from(self.sms.is_some()));
        if let Some(sms) = self.sms {
            put_text(&mut into, sms);
        }
        into.extend_from_slice(self.objects.as_bytes());
        // A copy has its size from the beginning; what is cut keeps what was too much.
        Packed(into.as_slice().into())
    }
}

impl Packed {
    pub(crate) fn said(&self) -> Said<'_> {
        read(Reader(&self.0)).expect("it was packed by us")
    }
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.said().fmt(f)
    }
}

fn read(mut reader: Reader<'_>) -> Option<Said<'_>> {
    let binding = reader.text()?;
    let sms = if reader.byte()? == 0 { None } else { Some(reader.text()?) };
    Some(Said { binding, sms, objects: ObjectList::of(reader.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_back() {
        let said = Said { binding: "U", sms: None, objects: ObjectList::EMPTY };
        for sms in [None, Some(""), Some("+491700000")] {
            let said = Said { sms, ..said };
            assert_eq!(said.pack().said(), said);
        }
        let long = "x".repeat(300);
        let said = Said { binding: &long, ..said };
        assert_eq!(said.pack().said(), said);
    }
}
