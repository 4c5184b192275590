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

#[cfg(test)]
mod tests {
    use super::*;

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
