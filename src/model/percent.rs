//! Percent-encoding: a text in the path of a URL.

use std::fmt::Write as _;

/// A path in a URL (RFC 3986): all that is not unreserved is escaped, slashes stay. As a relative
/// reference it has neither a scheme nor a query.
pub fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(char::from(byte));
            }
            byte => {
                // Writing to a string cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// The text that a path in a URL stands for; none if its escapes are none, or what they stand for
/// is no text.
pub fn decode_path(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        decoded.push(if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        for path in ["debian-12/a_b~c.tar.gz", "a b/ü?x#y", "100%", ""] {
            assert_eq!(decode_path(&encode_path(path)).as_deref(), Some(path));
        }
        for path in ["%", "%2", "%zz", "%ff", "a%+1"] {
            assert_eq!(decode_path(path), None, "{path}");
        }
    }

    #[test]
    fn only_what_is_unreserved_stays() {
        let table = [
            ("debian-12/a_b~c.tar.gz", "debian-12/a_b~c.tar.gz"),
            ("a b/ü?x#y", "a%20b/%C3%BC%3Fx%23y"),
            ("javascript:alert(1)", "javascript%3Aalert%281%29"),
            ("\"><script>", "%22%3E%3Cscript%3E"),
            ("100%", "100%25"),
        ];
        for (path, encoded) in table {
            assert_eq!(encode_path(path), encoded);
        }
    }
}
