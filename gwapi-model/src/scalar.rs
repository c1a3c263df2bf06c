//! Scalars with a grammar: ports, durations.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A TCP or UDP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port(u16);

impl Port {
    /// A port; `None` for 0.
    pub fn new(port: u16) -> Option<Self> {
        (port != 0).then_some(Self(port))
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Port {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.0)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;
        impl Visitor<'_> for PortVisitor {
            type Value = Port;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535")
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Port, E> {
                u16::try_from(value)
                    .ok()
                    .and_then(Port::new)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(value), &self))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Port, E> {
                u64::try_from(value)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
                    .and_then(|value| self.visit_u64(value))
            }
        }
        deserializer.deserialize_u16(PortVisitor)
    }
}

/// A duration of GEP-2257 (TO-1): `1h30m`, `500ms`; any zero disables what it limits.
///
/// It keeps the text it was read from, so that an object prints as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewayDuration {
    text: String,
    value: Duration,
}

/// Why a text is no duration of GEP-2257.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no duration: expected one to four numbers of up to five digits, each with a unit h, m, s or ms, such as 1h30m or 500ms"
)]
pub struct DurationError(String);

impl GatewayDuration {
    /// Parses `^([0-9]{1,5}(h|m|s|ms)){1,4}$`.
    pub fn parse(text: &str) -> Result<Self, DurationError> {
        let error = || DurationError(text.to_owned());
        let mut rest = text;
        let mut value = Duration::ZERO;
        let mut parts = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 5 || parts == 4 {
                return Err(error());
            }
            let number: u64 = rest[..digits].parse().map_err(|_| error())?;
            rest = &rest[digits..];
            let (unit, millis) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)]
                .into_iter()
                .find(|(unit, _)| rest.starts_with(unit))
                .ok_or_else(error)?;
            rest = &rest[unit.len()..];
            value += Duration::from_millis(number * millis);
            parts += 1;
        }
        if parts == 0 {
            return Err(error());
        }
        Ok(Self { text: text.to_owned(), value })
    }

    /// The length of time.
    pub fn get(&self) -> Duration {
        self.value
    }
}

impl fmt::Debug for GatewayDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for GatewayDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for GatewayDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for GatewayDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_gep_2257() {
        let millis = |text: &str| GatewayDuration::parse(text).map(|d| d.get().as_millis());
        assert_eq!(millis("1h30m"), Ok(5_400_000));
        assert_eq!(millis("10s500ms"), Ok(10_500));
        assert_eq!(millis("0s"), Ok(0));
        assert_eq!(millis("1s1s"), Ok(2_000));
        for bad in ["", "1", "s", "1.5s", "-1s", "1us", "123456s", "1s1s1s1s1s", "1 s"] {
            assert!(millis(bad).is_err(), "{bad:?} was taken as a duration");
        }
    }

    #[test]
    fn a_port_outside_its_range_is_named_in_the_error() {
        let error = serde_json::from_str::<Port>("70000").expect_err("70000 is no port");
        assert!(error.to_string().contains("a port from 1 to 65535"), "{error}");
        assert_eq!(serde_json::from_str::<Port>("443").map(Port::get).ok(), Some(443));
    }
}
