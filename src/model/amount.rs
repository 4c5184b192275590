//! Sizes, durations and ages as a person reads them.

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

/// How long ago something was; prints as `just now`, `5 minutes`, `1 hour`, `3 days` or `4 months`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(pub Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        // Gregorian means: a month is 30.44 days.
        const MONTH: u64 = YEAR / 12;
        const YEAR: u64 = 31_556_952;
        let seconds = self.0.as_secs();
        // Of each unit at least two before the next is spoken of, but for minutes and hours.
        let (unit, name) = match seconds {
            0..MINUTE => return f.pad("just now"),
            MINUTE..HOUR => (MINUTE, "minute"),
            HOUR..DAY => (HOUR, "hour"),
            _ if seconds < 2 * MONTH => (DAY, "day"),
            _ if seconds < 2 * YEAR => (MONTH, "month"),
            _ => (YEAR, "year"),
        };
        let count = seconds / unit;
        let many = if count == 1 { "" } else { "s" };
        f.pad(&format!("{count} {name}{many}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_well() {
        let day = 86_400;
        let table = [
            (0, "just now"),
            (59, "just now"),
            (60, "1 minute"),
            (3599, "59 minutes"),
            (3600, "1 hour"),
            (day - 1, "23 hours"),
            (day, "1 day"),
            (3 * day + 7, "3 days"),
            (60 * day, "60 days"),
            (61 * day, "2 months"),
            (730 * day, "23 months"),
            (731 * day, "2 years"),
        ];
        for (seconds, text) in table {
            assert_eq!(Age(Duration::from_secs(seconds)).to_string(), text);
        }
    }

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
