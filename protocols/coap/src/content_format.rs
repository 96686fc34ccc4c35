//! Content-Format numbers and media types: the same fact in CoAP's and in everyone else's words.
//!
//! A number that has no entry here is spelled `application/coap-content-format;id=N`, so that it
//! survives the way through the bus.

/// The spelling of numbers without an entry.
const NUMBERED: &str = "application/coap-content-format;id=";

pub const TEXT_PLAIN: u16 = 0;
pub const LINK_FORMAT: u16 = 40;
pub const OCTET_STREAM: u16 = 42;
pub const JSON: u16 = 50;
pub const CBOR: u16 = 60;
pub const SENML_JSON: u16 = 110;
pub const SENML_CBOR: u16 = 112;
pub const SENML_ETCH_JSON: u16 = 320;
pub const SENML_ETCH_CBOR: u16 = 322;
pub const LWM2M_TLV: u16 = 11542;
pub const LWM2M_JSON: u16 = 11543;
pub const LWM2M_CBOR: u16 = 11544;

/// IANA registry "CoAP Content-Formats", ascending by number.
const TABLE: [(u16, &str); 51] = [
    (TEXT_PLAIN, "text/plain;charset=utf-8"),
    (16, "application/cose;cose-type=\"cose-encrypt0\""),
    (17, "application/cose;cose-type=\"cose-mac0\""),
    (18, "application/cose;cose-type=\"cose-sign1\""),
    (19, "application/ace+cbor"),
    (21, "image/gif"),
    (22, "image/jpeg"),
    (23, "image/png"),
    (LINK_FORMAT, "application/link-format"),
    (41, "application/xml"),
    (OCTET_STREAM, "application/octet-stream"),
    (47, "application/exi"),
    (JSON, "application/json"),
    (51, "application/json-patch+json"),
    (52, "application/merge-patch+json"),
    (CBOR, "application/cbor"),
    (61, "application/cwt"),
    (62, "application/multipart-core"),
    (63, "application/cbor-seq"),
    (96, "application/cose;cose-type=\"cose-encrypt\""),
    (97, "application/cose;cose-type=\"cose-mac\""),
    (98, "application/cose;cose-type=\"cose-sign\""),
    (101, "application/cose-key"),
    (102, "application/cose-key-set"),
    (SENML_JSON, "application/senml+json"),
    (111, "application/sensml+json"),
    (SENML_CBOR, "application/senml+cbor"),
    (113, "application/sensml+cbor"),
    (114, "application/senml-exi"),
    (115, "application/sensml-exi"),
    (256, "application/coap-group+json"),
    (271, "application/dots+cbor"),
    (272, "application/missing-blocks+cbor-seq"),
    (284, "application/pkcs8"),
    (285, "application/csrattrs"),
    (286, "application/pkcs10"),
    (287, "application/pkix-cert"),
    (310, "application/senml+xml"),
    (311, "application/sensml+xml"),
    (SENML_ETCH_JSON, "application/senml-etch+json"),
    (SENML_ETCH_CBOR, "application/senml-etch+cbor"),
    (340, "application/yang-data+cbor"),
    (432, "application/td+json"),
    (10000, "application/vnd.ocf+cbor"),
    (10001, "application/oscore"),
    (10002, "application/javascript"),
    (LWM2M_TLV, "application/vnd.oma.lwm2m+tlv"),
    (LWM2M_JSON, "application/vnd.oma.lwm2m+json"),
    (LWM2M_CBOR, "application/vnd.oma.lwm2m+cbor"),
    (20000, "text/css"),
    (30000, "image/svg+xml"),
];

/// The media type of a Content-Format number.
pub fn to_media_type(number: u16) -> Box<str> {
    match TABLE.binary_search_by_key(&number, |(number, _)| *number) {
        Ok(index) => TABLE.get(index).map_or("", |(_, name)| name).into(),
        Err(_) => format!("{NUMBERED}{number}").into(),
    }
}

/// The Content-Format number of a media type, ignoring case and blanks; `None` if it has none.
pub fn from_media_type(media_type: &str) -> Option<u16> {
    let known = TABLE.iter().find(|(_, name)| is_same(name, media_type)).map(|(number, _)| *number);
    known.or_else(|| {
        let normal: String =
            media_type.chars().filter(|c| *c != ' ').collect::<String>().to_ascii_lowercase();
        match normal.as_str() {
            "text/plain" => Some(TEXT_PLAIN),
            other => other.strip_prefix(NUMBERED)?.parse().ok(),
        }
    })
}

fn is_same(name: &str, text: &str) -> bool {
    let significant = text.bytes().filter(|byte| *byte != b' ').map(|byte| byte.to_ascii_lowercase());
    name.bytes().eq(significant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_survives_the_way_there_and_back() {
        for number in (0..=u16::MAX).step_by(97).chain(TABLE.map(|(number, _)| number)) {
            assert_eq!(from_media_type(&to_media_type(number)), Some(number));
        }
    }

    #[test]
    fn media_types_are_matched_without_case_and_blanks() {
        assert_eq!(from_media_type("Text/Plain; charset=UTF-8"), Some(TEXT_PLAIN));
        assert_eq!(from_media_type("text/plain"), Some(TEXT_PLAIN));
        assert_eq!(from_media_type("application/JSON"), Some(JSON));
        assert_eq!(from_media_type("application/json; charset=utf-8"), None);
        assert_eq!(from_media_type("application/coap-content-format;id=70000"), None);
    }
}
