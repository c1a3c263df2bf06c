//! One file: what it says now, and what it said when it was last good.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use gwapi_model::manifest::{Located, Manifest, Position, Problem, Severity};
use gwapi_model::{ObjectId, Resource};

use super::parts::{Parts, digest};
use super::scan::{Stamp, cannot_read};

/// Bytes of a file that are read.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// An object of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) resource: Resource,
    pub(super) position: Position,
    /// It is not what the file says now, but what it said when it could last be read.
    pub(super) stale: bool,
}

/// What is known of a file.
#[derive(Clone, Debug)]
pub(super) struct FileState {
    /// The file's name in problems.
    pub(super) source: Arc<str>,
    pub(super) objects: BTreeMap<ObjectId, Held>,
    pub(super) foreign: BTreeMap<String, usize>,
    /// What is wrong with its text.
    pub(super) problems: Vec<Problem>,
    /// Why it could not be read the last time.
    pub(super) trouble: Option<String>,
    /// When it was read, and how it looked then.
    pub(super) read: Option<(SystemTime, Stamp)>,
    pub(super) digest: Option<u64>,
    /// The parts of its text.
    pub(super) parts: Parts,
    /// Since when it is not there.
    pub(super) absent: Option<Instant>,
    /// All of its objects are stale, see [`FileState::become_stale`].
    pub(super) kept: bool,
}

impl FileState {
    pub(super) fn new(source: Arc<str>) -> Self {
        Self {
            source,
            objects: BTreeMap::new(),
            foreign: BTreeMap::new(),
            problems: Vec::new(),
            trouble: None,
            read: None,
            digest: None,
            parts: Parts::default(),
            absent: None,
            kept: false,
        }
    }

    /// The state after its text became `text`.
    ///
    /// An object that is refused keeps its last good version. Where some document cannot even be
    /// told, it may be any of the objects that the file held: they all stay.
    pub(super) fn with_text(&self, text: &str) -> Self {
        let parts = Parts::of(text);
        let next = self.with_edit(text, &parts).unwrap_or_else(|| self.with_new_text(text));
        Self { digest: Some(digest(text)), parts, ..next }
    }

    /// The same where only the documents that an edit touched are read: a file of hundreds of
    /// objects is edited as fast as a small one. `None` where that does not do, above all where
    /// something is wrong: problems are found in the whole text.
    fn with_edit(&self, text: &str, parts: &Parts) -> Option<Self> {
        let is_plain = self.problems.is_empty() && self.foreign.is_empty();
        if !is_plain || self.trouble.is_some() || self.kept {
            return None;
        }
        let edit = self.parts.edit(parts, text)?;
        let manifest = gwapi_model::manifest::parse(&self.source, &text[edit.bytes]);
        if !manifest.problems.is_empty() || !manifest.foreign.is_empty() {
            return None;
        }
        let mut next = Self::new(self.source.clone());
        for (id, held) in &self.objects {
            let mut held = held.clone();
            if held.position.line >= edit.before.end {
                held.position.line = held.position.line - edit.before.end + edit.after.end;
            } else if held.position.line >= edit.before.start {
                continue;
            }
            next.objects.insert(id.clone(), held);
        }
        for Located { resource, mut position } in manifest.objects {
            position.line += edit.after.start - 1;
            let held = Held { resource, position, stale: false };
            if next.objects.insert(held.resource.id(), held).is_some() {
                return None;
            }
        }
        Some(next)
    }

    fn with_new_text(&self, text: &str) -> Self {
        let Manifest { objects, refused, stand_ins, foreign, problems, broken } =
            gwapi_model::manifest::parse(&self.source, text);
        let mut next = Self { problems, ..Self::new(self.source.clone()) };
        for located in objects {
            let (id, position) = (located.resource.id(), located.position);
            if let Some(first) = next.objects.get(&id) {
                let first = place(&self.source, first.position);
                next.problems.push(duplicate(&self.source, position, id, &first));
                continue;
            }
            next.objects.insert(id, Held { resource: located.resource, position, stale: false });
        }
        for (id, held) in &self.objects {
            if (broken || refused.contains(id)) && !next.objects.contains_key(id) {
                next.objects.insert(id.clone(), Held { stale: true, ..held.clone() });
            }
        }
        for Located { resource, position } in stand_ins {
            let held = Held { resource, position, stale: true };
            next.objects.entry(held.resource.id()).or_insert(held);
        }
        // They came in order, which leaves a map with a third of its room to spare.
        next.objects = std::mem::take(&mut next.objects).into_iter().collect();
        for object in foreign {
            let kind = format!("{}/{}", object.api_version, object.kind);
            *next.foreign.entry(kind).or_default() += 1;
        }
        next
    }

    /// Whether some object of `self` is not in `next`.
    pub(super) fn loses_objects(&self, next: &Self) -> bool {
        self.objects.keys().any(|id| !next.objects.contains_key(id))
    }

    /// Marks every object as what was read last rather than what is there.
    pub(super) fn become_stale(&mut self) {
        self.objects.values_mut().for_each(|held| held.stale = true);
        self.kept = true;
    }

    /// Whether something is wrong with the file.
    pub(super) fn has_problems(&self) -> bool {
        self.trouble.is_some() || !self.problems.is_empty()
    }

    /// What is wrong with the file.
    pub(super) fn all_problems(&self) -> impl Iterator<Item = Problem> + '_ {
        let trouble = self.trouble.as_ref().map(|message| {
            let mut problem = whole_file(&self.source, message.clone());
            if !self.objects.is_empty() {
                problem.help = Some("its objects stay as they were last read".to_owned());
            }
            problem
        });
        trouble.into_iter().chain(self.problems.iter().cloned())
    }
}

/// Why a file has no text.
#[derive(Debug)]
pub(super) enum ReadError {
    /// There is no such file.
    Absent,
    /// There is one; why it cannot be used.
    Unusable(String),
}

/// Reads a file of bounded size, and how it looked when it was opened.
pub(super) fn read(path: &Path) -> Result<(String, Stamp), ReadError> {
    let error = |error: io::Error| match super::scan::is_absent(&error) {
        true => ReadError::Absent,
        false => ReadError::Unusable(cannot_read(&error)),
    };
    // A pipe that took the file's place would make `open` wait.
    if !std::fs::metadata(path).map_err(error)?.is_file() {
        return Err(ReadError::Unusable("it is not a file any more".to_owned()));
    }
    let file = File::open(path).map_err(error)?;
    let stamp = Stamp::new(&file.metadata().map_err(error)?);
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.length.min(MAX_FILE)).unwrap_or(0));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(error)?;
    if bytes.len() as u64 > MAX_FILE {
        let limit = MAX_FILE / (1024 * 1024);
        return Err(ReadError::Unusable(format!("it is larger than {limit} MiB")));
    }
    String::from_utf8(bytes).map(|text| (text, stamp)).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        ReadError::Unusable(format!(
            "it is not UTF-8 text: line {line} has a byte that is not; save it as UTF-8"
        ))
    })
}

/// A problem of a file as a whole.
pub(super) fn whole_file(source: &Arc<str>, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        source: source.clone(),
        position: None,
        span: 0..0,
        object: None,
        field: None,
        message,
        help: None,
    }
}

/// The problem of an object that is given a second time.
pub(super) fn duplicate(
    source: &Arc<str>,
    position: Position,
    object: ObjectId,
    first: &str,
) -> Problem {
    Problem {
        position: Some(position),
        message: format!("the same object is given at {first}, and that one is used"),
        help: Some("remove one of the two, or give it another name".to_owned()),
        object: Some(object),
        ..whole_file(source, String::new())
    }
}

/// `file:line:column`.
pub(super) fn place(source: &str, position: Position) -> String {
    format!("{source}:{}:{}", position.line, position.column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, port: u16) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports: [{{port: {port}}}]\n"
        )
    }

    fn new() -> FileState {
        FileState::new("a.yaml".into())
    }

    #[test]
    fn an_edited_file_is_what_it_would_be_if_it_were_new() {
        let documents = [service("a", 1), service("b", 2), service("c", 3), service("d", 4)];
        let [a, b, c, d] = &documents;
        let (foreign, longer) = ("kind: Pod\napiVersion: v1\n", format!("# more\n\n{b}"));
        let other = service("b", 7);
        let texts = [
            vec![a, b, c, d],
            vec![a, &other, c, d],
            vec![a, &longer, c, d],
            vec![a, c, d],
            vec![a, b, c],
            vec![b, c, d],
            vec![d, c, b, a],
            vec![a, b, c, c],
            vec![a, b, c, a],
            vec![&longer, a, &other, d],
            vec![a],
            vec![],
        ];
        let mut texts: Vec<String> = texts
            .into_iter()
            .map(|it| it.into_iter().cloned().collect::<Vec<_>>().join("---\n"))
            .collect();
        texts.push(format!("--- # first\n{a}--- \n{b}...\n---\n{c}"));
        texts.push(format!("{a}---\n{foreign}---\n{c}"));
        texts.push(format!("{a}---\nkind: [\n---\n{c}"));
        texts.push(format!("%YAML 1.2\n---\n{a}---\n{b}"));
        texts.push(texts[0].replace('\n', "\r\n"));
        texts.push(texts[1].replace('\n', "\r\n"));
        texts.push(format!("\u{feff}{}", texts[0]));
        let fresh = |state: &FileState| {
            let kept = state.objects.iter().filter(|(_, held)| !held.stale);
            let kept: Vec<_> = kept.map(|(id, held)| (id.clone(), held.clone())).collect();
            (kept, state.problems.clone(), state.foreign.clone(), state.digest)
        };
        for before in &texts {
            for after in &texts {
                let edited = new().with_text(before).with_text(after);
                let read = new().with_text(after);
                assert_eq!(fresh(&edited), fresh(&read), "{before:?} and {after:?}");
            }
        }
    }

    #[test]
    fn objects_that_an_edit_does_not_touch_are_not_read_again() {
        let [a, b, c] = [("a", 1), ("b", 2), ("c", 3)].map(|(name, port)| service(name, port));
        let before = new().with_text(&format!("{a}---\n{b}---\n{c}"));
        let after = before.with_text(&format!("{a}---\n# is edited\n{b}---\n{c}"));
        let shared: Vec<bool> = before
            .objects
            .iter()
            .map(|(id, held)| held.resource.is_same_object(&after.objects[id].resource))
            .collect();
        assert_eq!(shared, [true, false, true]);
    }
}
