//! Values of limits, as people write and read them.

use std::time::Duration;

use gwapi_model::GatewayDuration;

/// Sizes by their suffix, the largest first.
const UNITS: [(&str, u64); 3] = [("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

/// A limit's place among the others, by what it measures.
pub(super) enum Slot<'a> {
    /// Things, counted.
    Count(&'a mut usize),
    /// Streams, counted.
    Streams(&'a mut u32),
    /// A size.
    Bytes(&'a mut usize),
    /// Bytes per second; 0 asks for none.
    Rate(&'a mut u64),
    /// A length of time.
    Time(&'a mut Duration),
    /// A size that the system decides on where nobody else does; 0 is no limit.
    Memory(&'a mut Option<u64>),
}

impl Slot<'_> {
    /// The value, a time in milliseconds; none where the system decides.
    pub(super) fn get(&self) -> Option<u64> {
        match self {
            Self::Count(value) | Self::Bytes(value) => Some(saturated(**value)),
            Self::Streams(value) => Some((**value).into()),
            Self::Rate(value) => Some(**value),
            Self::Time(value) => Some(saturated(value.as_millis())),
            Self::Memory(value) => **value,
        }
    }

    /// Sets a value that [`Slot::parse`] gave.
    pub(super) fn put(&mut self, value: u64) {
        match self {
            Self::Count(place) | Self::Bytes(place) => {
                **place = usize::try_from(value).unwrap_or(usize::MAX);
            }
            Self::Streams(place) => **place = u32::try_from(value).unwrap_or(u32::MAX),
            Self::Rate(place) => **place = value,
            Self::Time(place) => **place = Duration::from_millis(value),
            Self::Memory(place) => **place = Some(value),
        }
    }

    /// Reads a value of this kind.
    pub(super) fn parse(&self, text: &str) -> Option<u64> {
        match self {
            Self::Count(_) | Self::Streams(_) => number(text),
            Self::Bytes(_) | Self::Rate(_) | Self::Memory(_) => size(text),
            Self::Time(_) => Some(saturated(GatewayDuration::parse(text).ok()?.get().as_millis())),
        }
    }

    /// Writes a value of this kind.
    pub(super) fn show(&self, value: u64) -> String {
        match self {
            Self::Count(_) | Self::Streams(_) => value.to_string(),
            Self::Bytes(_) | Self::Rate(_) | Self::Memory(_) => bytes(value),
            Self::Time(_) => time(value),
        }
    }

    /// What values look like.
    pub(super) fn form(&self) -> &'static str {
        match self {
            Self::Count(_) | Self::Streams(_) => "a number",
            Self::Bytes(_) | Self::Memory(_) => "a size such as 65536 or 64KiB",
            Self::Rate(_) => "bytes per second such as 240 or 1KiB",
            Self::Time(_) => "a duration such as 10s or 500ms",
        }
    }

    /// Whether 0 stands for no limit, however great the least value is.
    pub(super) fn zero_is_none(&self) -> bool {
        matches!(self, Self::Memory(_))
    }
}

/// A size, in the largest unit that leaves nothing over.
pub(super) fn bytes(value: u64) -> String {
    let whole = |unit: u64| value > 0 && value.is_multiple_of(unit);
    match UNITS.into_iter().find(|(_, unit)| whole(*unit)) {
        Some((suffix, unit)) => format!("{}{suffix}B", value / unit),
        None => value.to_string(),
    }
}

/// A time in milliseconds, in the unit that people would use.
fn time(millis: u64) -> String {
    match millis {
        0 => "0s".to_owned(),
        _ if !millis.is_multiple_of(1000) => format!("{millis}ms"),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis > 60_000 && millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ => format!("{}s", millis / 1000),
    }
}

fn number(text: &str) -> Option<u64> {
    // `parse` would take a sign too.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number of bytes, or one with `KiB`, `MiB` or `GiB`, of which Kubernetes leaves out the `B`.
fn size(text: &str) -> Option<u64> {
    let bare = text.strip_suffix('B').unwrap_or(text);
    for (suffix, unit) in UNITS {
        if let Some(count) = bare.strip_suffix(suffix) {
            return number(count)?.checked_mul(unit);
        }
    }
    number(text)
}

fn saturated(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_shown_in_the_largest_fitting_unit() {
        for (value, text) in
            [(0, "0"), (240, "240"), (1 << 10, "1KiB"), (3 << 20, "3MiB"), (1 << 30, "1GiB")]
        {
            assert_eq!((bytes(value), size(text)), (text.to_owned(), Some(value)));
        }
        for (millis, text) in
            [(0, "0s"), (1500, "1500ms"), (60_000, "60s"), (300_000, "5m"), (3_600_000, "1h")]
        {
            assert_eq!(time(millis), text);
        }
    }

    #[test]
    fn a_size_is_a_plain_number_or_one_with_a_unit() {
        assert_eq!((size("64Ki"), size("64KiB")), (Some(65_536), Some(65_536)));
        for odd in
            ["", "B", "1B", "KiB", "+1", "-1", "1kb", "1 KiB", "0x10", "18446744073709551615KiB"]
        {
            assert_eq!(size(odd), None, "{odd:?}");
        }
    }
}
