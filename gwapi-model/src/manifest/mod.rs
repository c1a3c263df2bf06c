//! Manifests as text: YAML or JSON in, typed objects and located problems out.
//!
//! ```text
//!  text ─► tree ─► de ─► validate ─► reader ─► Manifest
//!          │       │     │           apiVersion and kind tell what an object is
//!          │       │     what an API server would refuse
//!          │       values of the right type, no unknown fields
//!          values with their places; nesting and aliases are bounded
//! ```
//!
//! Pure: the caller reads files and names them. A document that is broken never hides the others.
//!
//! ```
//! let text = "\
//! apiVersion: v1
//! kind: Service
//! metadata:
//!   name: shop
//! spec:
//!   ports:
//!   - port: 80000
//! ";
//! let manifest = gwapi_model::manifest::parse("shop.yaml", text);
//! assert_eq!(
//!     manifest.problems[0].to_string(),
//!     "shop.yaml:7:11: Service default/shop: spec.ports[0].port: \
//!      expected a port from 1 to 65535, found integer 80000"
//! );
//! ```

mod budget;
mod de;
mod de_error;
mod fields;
mod finding;
mod first_shape;
mod kinds;
mod locate;
mod node;
mod plain;
mod position;
mod quoting;
mod reader;
pub mod render;
mod syntax;
mod tags;
mod trail;
mod tree;

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::sync::Arc;

use crate::{ObjectId, Resource};

pub use locate::{Places, locate};

/// A place in a text, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The object or file is not taken in.
    Error,
    /// It is taken in; something about it is worth knowing.
    Warning,
}

/// Something wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// The name of the text, as given to [`parse`]; usually a file's path.
    pub source: Arc<str>,
    /// Where; absent for problems of a whole file.
    pub position: Option<Position>,
    /// The bytes of the text that it is about; empty where there is no position.
    pub span: Range<usize>,
    /// The object that it is about, where it can be told.
    pub object: Option<ObjectId>,
    /// The field, such as `spec.rules[0].matches`, where there is one.
    pub field: Option<String>,
    /// What is wrong, without a final dot.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// `file:line:column: message` on one line; [`Problem::help`] is not part of it.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Names and keys may hold anything, line breaks included.
        let f = &mut quoting::OneLine(f);
        f.write_str(&self.source)?;
        if let Some(position) = self.position {
            write!(f, ":{}:{}", position.line, position.column)?;
        }
        write!(f, ": ")?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// An object together with the place where its document starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The object.
    pub resource: Resource,
    /// Where it starts.
    pub position: Position,
}

/// An object of a kind that gwapi does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignObject {
    /// `apiVersion` as written.
    pub api_version: String,
    /// `kind` as written.
    pub kind: String,
    /// Name, where it has one.
    pub name: String,
    /// Where it starts.
    pub position: Position,
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// Valid objects, in the order of the text.
    pub objects: Vec<Located>,
    /// Objects that were refused although it is plain which they are: whoever keeps a last good
    /// version of them should go on with it.
    pub refused: Vec<ObjectId>,
    /// What stands in for some of the refused objects where nobody has a last good version: without a
    /// BackendTLSPolicy its Services would be spoken to in the clear. It is for the same Services as far
    /// as they can be read, and nothing satisfies it (BT-5).
    pub stand_ins: Vec<Located>,
    /// Objects of other kinds.
    pub foreign: Vec<ForeignObject>,
    /// Errors and warnings, in the order of the text.
    pub problems: Vec<Problem>,
    /// Whether some document could not be told at all (broken syntax, no kind): then every object
    /// that the text held before may still be meant.
    pub broken: bool,
}

/// Texts longer than this many bytes are refused: a folder of manifests is for people to read, and
/// some hundred thousand lines fit.
pub const MAX_TEXT: usize = 32 * 1024 * 1024;

/// Reads a text of YAML documents or JSON, with `List` objects taken apart.
///
/// `source` names the text in problems. Defaults that the API server would fill in are filled in:
/// namespace `default`, generation 1.
///
/// It never fails and never panics: whatever is wrong is one of the [`Problem`]s. Time and memory
/// are bounded by the length of the text.
pub fn parse(source: &str, text: &str) -> Manifest {
    if text.len() <= MAX_TEXT {
        return reader::read(source, text);
    }
    let problem = Problem {
        severity: Severity::Error,
        source: source.into(),
        position: None,
        span: 0..0,
        object: None,
        field: None,
        message: format!(
            "the text is {} bytes long, more than the {MAX_TEXT} that are read",
            text.len()
        ),
        help: Some("split it into several files".to_owned()),
    };
    Manifest { problems: vec![problem], broken: true, ..Manifest::default() }
}
