/// Bytes of a packet that is not there in full. Nearly always none, and then it is as small as can be.
#[derive(Default)]
pub(crate) struct Partial {
    #[expect(clippy::box_collection, reason = "there is one in every connection")]
    bytes: Option<Box<Vec<u8>>>,
}

impl Partial {
    pub(crate) fn len(&self) -> usize {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.get_or_insert_default().extend_from_slice(bytes);
    }

    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.bytes.take().map_or_else(Vec::new, |bytes| *bytes)
    }

    /// Keeps what was not consumed, in no more memory than it needs.
    pub(crate) fn keep(&mut self, bytes: Vec<u8>, consumed: usize) {
        let rest = match consumed {
            0 => bytes,
            _ if consumed == bytes.len() => return,
            _ => bytes[consumed..].to_vec(),
        };
        self.bytes = (!rest.is_empty()).then(|| rest.into());
    }
}
