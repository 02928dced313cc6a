//! Names of targets, which become part of an address.
use super::TufError;

/// Most bytes of a target's name; file names on most systems have fewer than 256.
pub const MAX_NAME_BYTES: usize = 512;

/// Whether a target may have this name: a relative path that stays where it is.
///
/// # Errors
/// When it is empty or too long, begins or ends with `/`, has an empty, `.` or `..` segment, or
/// holds `\`, NUL or another control character.
pub fn check_name(name: &str) -> Result<(), TufError> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "is longer than 512 bytes"
    } else if name.chars().any(char::is_control) {
        "holds a control character"
    } else if name.contains('\\') {
        "holds a backslash"
    } else if name.starts_with('/') {
        "begins with `/`, wanted a relative path"
    } else if name.split('/').any(str::is_empty) {
        "has an empty segment"
    } else if name.split('/').any(|segment| segment == "." || segment == "..") {
        "has a segment `.` or `..`"
    } else {
        return Ok(());
    };
    Err(TufError::NameForbidden { name: name.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_relative_paths() {
        let longest = "a".repeat(MAX_NAME_BYTES);
        for name in ["trusted_root.json", "a/b.c/d", "..a", "a..", "%2e%2e", &longest] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn rejects_what_leads_elsewhere() {
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        let cases = [
            ("", "is empty"),
            (&long, "is longer than 512 bytes"),
            ("a\0b", "holds a control character"),
            ("..\\a", "holds a backslash"),
            ("/etc/passwd", "begins with `/`, wanted a relative path"),
            ("a//b", "has an empty segment"),
            ("a/", "has an empty segment"),
            ("../a", "has a segment `.` or `..`"),
            ("a/../b", "has a segment `.` or `..`"),
            ("a/./b", "has a segment `.` or `..`"),
            ("..", "has a segment `.` or `..`"),
        ];
        for (name, problem) in cases {
            let wanted = TufError::NameForbidden { name: name.to_owned(), problem };
            assert_eq!(check_name(name), Err(wanted));
        }
    }
}
