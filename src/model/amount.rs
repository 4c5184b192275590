//! Sizes and durations as a person reads them.

use std::fmt;
use std::time::Duration;

/// A number of bytes; prints as `26.4 MB` (powers of ten, as `ls --si` and download pages do).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    #[allow(clippy::cast_precision_loss)] // three digits are printed
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
        if self.0 < 1000 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut value = self.0 as f64 / 1000.0;
        let mut unit = 0;
        while value >= 999.95 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        f.pad(&format!("{value:.1} {}", UNITS[unit]))
    }
}

/// A duration; prints as `41 ms`, `3.2 s`, `2 min 07 s` or `1 h 02 min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Elapsed(pub Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let text = match seconds {
            0 if self.0 < Duration::from_millis(950) => format!("{} ms", self.0.as_millis()),
            0..60 => format!("{:.1} s", self.0.as_secs_f64()),
            60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
            _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let table = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (26_437_858, "26.4 MB"),
        ];
        for (bytes, text) in table {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn durations_read_well() {
        let table = [
            (41, "41 ms"),
            (999, "1.0 s"),
            (59_900, "59.9 s"),
            (127_000, "2 min 07 s"),
            (3_720_000, "1 h 02 min"),
        ];
        for (millis, text) in table {
            assert_eq!(Elapsed(Duration::from_millis(millis)).to_string(), text);
        }
    }
}
