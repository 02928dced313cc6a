//! The bytes that signatures cover: canonical JSON as TUF's tools write it.
//!
//! That is OLPC canonical JSON (TUF specification 4.2.1): no white space, names sorted by code
//! point, whole numbers only, and in texts nothing escaped but `\` and `"`, so that a line break
//! in a PEM key stays a line break. RFC 8785 differs in the last two.
use serde_json::Value;

/// The canonical bytes; nothing where a number is not whole.
pub(super) fn canonical(value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    write(value, &mut out)?;
    Some(out)
}

fn write(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Value::Number(_) => return None,
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| name.as_bytes());
            out.push(b'{');
            for (index, (name, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(name, out);
                out.push(b':');
                write(item, out)?;
            }
            out.push(b'}');
        }
    }
    Some(())
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sorts_names_and_escapes_two_characters() {
        let value = json!({
            "b": [1, -2, true, null], "a\"\\": "line\nend\u{7f}é", "": u64::MAX, "B": {},
        });
        let wanted = "{\"\":18446744073709551615,\"B\":{},\
                      \"a\\\"\\\\\":\"line\nend\u{7f}é\",\"b\":[1,-2,true,null]}";
        assert_eq!(canonical(&value).unwrap(), wanted.as_bytes());
    }

    #[test]
    fn rejects_numbers_that_are_not_whole() {
        assert_eq!(canonical(&json!([{ "a": 1.0 }])), None);
        assert_eq!(canonical(&json!(1e3)), None);
    }
}
