//! Quantities of Kubernetes: `100m` CPUs, `64Mi` bytes.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// An amount of something, as Kubernetes writes it: a number with a suffix such as `m`, `k`, `Mi`.
///
/// It keeps the text it was read from. A bare number is read as its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Quantity(String);

impl Quantity {
    /// Takes a text as it is; [`is_valid`](Self::is_valid) tells whether it is an amount.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The amount as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an amount that is not negative: `(digits)[.digits](suffix | e digits)`.
    pub fn is_valid(&self) -> bool {
        let text = self.0.strip_prefix('+').unwrap_or(&self.0);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let mut parts = number.split('.');
        let (whole, fraction) = (parts.next().unwrap_or_default(), parts.next());
        let has_digits = !whole.is_empty() || fraction.is_some_and(|it| !it.is_empty());
        has_digits && parts.next().is_none() && is_suffix(suffix)
    }
}

fn is_suffix(suffix: &str) -> bool {
    const SUFFIXES: &[&str] =
        &["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let exponent = suffix.strip_prefix(['e', 'E']).map(|it| {
        let digits = it.strip_prefix(['+', '-']).unwrap_or(it);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    });
    SUFFIXES.contains(&suffix) || exponent == Some(true)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QuantityVisitor;
        impl Visitor<'_> for QuantityVisitor {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an amount such as 100m or 64Mi")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                Ok(Quantity(text.to_owned()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Quantity, E> {
                Ok(Quantity(value.to_string()))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Quantity, E> {
                Ok(Quantity(value.to_string()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Quantity, E> {
                Ok(Quantity(value.to_string()))
            }
        }
        deserializer.deserialize_any(QuantityVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_numbers_with_a_suffix() {
        for good in ["0", "1", "+1", "1.5", ".5", "1.", "100m", "64Mi", "1e3", "1E-3", "2Gi", "1k"]
        {
            assert!(Quantity::new(good).is_valid(), "{good} was refused");
        }
        for bad in ["", "m", "-1", "1 Mi", "64mi", "1.2.3", "1e", "one", "1KB", "."] {
            assert!(!Quantity::new(bad).is_valid(), "{bad:?} was taken as a quantity");
        }
    }

    #[test]
    fn a_bare_number_is_read_as_its_text() {
        for (written, text) in [(json!(2), "2"), (json!(0.5), "0.5"), (json!("250m"), "250m")] {
            let read: Quantity = serde_json::from_value(written).expect("an amount");
            assert_eq!(read.as_str(), text);
        }
    }
}
