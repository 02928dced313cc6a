//! Just enough of a DER writer for certificates, CMS and RFC 3161 (X.690, definite lengths).
//!
//! Everything is bytes in, bytes out, so that a test can also write what no encoder would.
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// One element: `tag`, the length of `content`, `content`.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    out.extend_from_slice(content);
    out
}

/// `SEQUENCE` of encoded elements.
pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// `SET OF` encoded elements, sorted as DER demands (X.690, 11.6).
pub fn set_of(parts: &[Vec<u8>]) -> Vec<u8> {
    element(0x31, &sorted(parts))
}

/// `[number] IMPLICIT SET OF`, sorted.
pub fn implicit_set_of(number: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    element(0xa0 | number, &sorted(parts))
}

fn sorted(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut parts = parts.to_vec();
    parts.sort();
    parts.concat()
}

/// `[number] EXPLICIT`, or `[number] IMPLICIT` over constructed content.
pub fn context(number: u8, content: &[u8]) -> Vec<u8> {
    element(0xa0 | number, content)
}

/// `INTEGER`, not negative, from its big-endian bytes.
pub fn integer(bytes: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    if content.first().is_none_or(|b| b & 0x80 != 0) {
        content.insert(0, 0);
    }
    element(0x02, &content)
}

/// `BOOLEAN TRUE`.
pub fn boolean_true() -> Vec<u8> {
    element(0x01, &[0xff])
}

/// `OCTET STRING`.
pub fn octet_string(content: &[u8]) -> Vec<u8> {
    element(0x04, content)
}

/// `BIT STRING` of whole octets.
pub fn bit_string(content: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0][..], content].concat())
}

/// `UTF8String`.
pub fn utf8_string(text: &str) -> Vec<u8> {
    element(0x0c, text.as_bytes())
}

/// `OBJECT IDENTIFIER` from its dotted form.
pub fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').map(|arc| arc.parse().unwrap()).collect();
    let mut content = vec![(arcs[0] * 40 + arcs[1]) as u8];
    for arc in &arcs[2..] {
        let mut digits = vec![(arc & 0x7f) as u8];
        let mut rest = arc >> 7;
        while rest > 0 {
            digits.push(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        content.extend(digits.iter().rev());
    }
    element(0x06, &content)
}

/// `GeneralizedTime` in UTC, whole seconds.
pub fn generalized_time(time: Timestamp) -> Vec<u8> {
    element(0x18, stamp(time, "%Y%m%d%H%M%SZ").as_bytes())
}

/// `Time` of X.509: `UTCTime` before 2050, `GeneralizedTime` from then on (RFC 5280, 4.1.2.5).
pub fn x509_time(time: Timestamp) -> Vec<u8> {
    if time.to_zoned(TimeZone::UTC).year() < 2050 {
        element(0x17, stamp(time, "%y%m%d%H%M%SZ").as_bytes())
    } else {
        generalized_time(time)
    }
}

fn stamp(time: Timestamp, format: &str) -> String {
    time.to_zoned(TimeZone::UTC).strftime(format).to_string()
}

/// A name with an organisation and a common name.
pub fn name(common_name: &str) -> Vec<u8> {
    let attribute = |kind: &str, value: &str| set_of(&[sequence(&[oid(kind), utf8_string(value)])]);
    sequence(&[attribute("2.5.4.10", "virtual.test"), attribute("2.5.4.3", common_name)])
}

/// `bytes` as PEM with lines of 64 characters.
pub fn pem(label: &str, bytes: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap());
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
