//! Enumerations that keep a value they do not know, so that a newer manifest is read and can be
//! answered with a condition instead of a parse error (RT-12).

/// Declares an enumeration of strings with a catch-all `Other`, which is a pointer and no more: nearly
/// all values are known ones, and there are many.
macro_rules! open_enum {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
            /// A value that this version does not know, kept as it was written.
            Other(Box<Box<str>>),
        }

        impl $name {
            /// Every value that the API defines, as written in manifests.
            pub const KNOWN: &'static [&'static str] = &[$($text),+];

            /// The value as written in manifests.
            pub fn as_str(&self) -> &str {
                match self { $(Self::$variant => $text,)+ Self::Other(text) => text }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text { $($text => Self::$variant,)+ other => Self::Other(Box::new(other.into())) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            /// The values that are known: an API server refuses all others.
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": Self::KNOWN })
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(String::deserialize(deserializer)?.as_str()))
            }
        }
    };
}
pub(crate) use open_enum;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::PathMatchType;

    #[test]
    fn a_value_that_is_not_known_is_kept_as_it_was_written() {
        for (text, value) in [
            ("PathPrefix", PathMatchType::PathPrefix),
            ("pathprefix", PathMatchType::from("pathprefix")),
            ("Glob", PathMatchType::Other(Box::new("Glob".into()))),
        ] {
            let read: PathMatchType = serde_json::from_value(json!(text)).expect("any text");
            assert_eq!(read, value);
            assert_eq!(serde_json::to_value(&read).expect("JSON"), json!(text));
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn every_known_value_reads_as_itself() {
        for text in PathMatchType::KNOWN {
            let read = PathMatchType::from(*text);
            assert_eq!(read.as_str(), *text);
            assert!(!matches!(read, PathMatchType::Other(_)), "{text}");
        }
    }
}
